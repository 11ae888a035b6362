//! `airlock mcp`: the Model Context Protocol over standard input and output, for
//! clients that start a program. Nothing but the protocol goes to the output.

use anyhow::{Context, Result};

use super::serve::stop_signal;
use super::{given_token, server_of, token};
use crate::bridge::{self, Endpoint, Place};
use crate::cli::Global;
use crate::config::Settings;
use crate::local::{Local, check_private};
use crate::logging::{FILTER, start_logging};
use crate::place::check_place;

/// Serves until the input ends or this process is told to stop: what a server
/// says, or, where none owns the data directory, what this process says itself.
pub(super) fn run(global: &Global) -> Result<()> {
    let settings = Settings::load(global)?;
    if std::env::var_os(FILTER).is_some() {
        start_logging(false, "off");
    }
    let Some(base) = server_of(global, &settings)? else {
        check_private(&settings)?;
        check_place(&settings, false)?;
        // Whoever gave a token gave no more than that.
        let given = given_token(global)?;
        return Local::open_to_serve(&settings)?.serve_mcp(given.as_deref(), stop_signal);
    };
    let token = token(global, &settings, &base)?;
    let is_named = global.server.as_ref().is_some_and(|url| !url.is_empty());
    let place = match is_named {
        true => Place::At(base),
        false => Place::OfOwner(Box::new(settings)),
    };
    let endpoint = Endpoint::new(place, &token)?;
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting threads")?;
    let served = tokio.block_on(async {
        let stop = stop_signal()?;
        let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
        bridge::serve(endpoint, input, output, stop).await
    });
    // A read of the input that nobody ends can't be waited for.
    tokio.shutdown_background();
    served
}
