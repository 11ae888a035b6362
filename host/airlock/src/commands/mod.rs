//! The commands. Each makes requests of the API and shows the answers; none
//! decides anything by itself.

mod approvals;
mod audit;
mod backup;
mod described;
mod explain;
mod follow;
mod grants;
mod halt;
mod history;
mod hooks;
mod mcp;
mod memory;
mod missing;
mod models;
mod new;
mod openapi;
mod order;
mod plugins;
mod policy;
mod refused;
mod replays;
mod resume;
mod runs;
mod schedules;
mod secrets;
mod serve;
mod servers;
mod tokens;
mod tools;
mod views;
mod workflow;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::cli::{self, Cli, Command, Global};
use crate::client::{Api, Remote};
use crate::config::Settings;
use crate::exit::Misuse;
use crate::harness::token_file;
use crate::local::{Local, check_private};
use crate::logging::{FILTER, start_logging};
use crate::output::{Format, print_bytes, print_error};
use crate::place::check_place;
use crate::selftest;
pub use memory::READ_PDF;
pub use plugins::install;
pub use views::usage_text;

/// What a command needs: where requests go, and how to show answers.
pub(crate) struct Session {
    pub(crate) api: Api,
    pub(crate) format: Format,
}

/// Runs the command that was typed.
///
/// # Errors
/// Whatever stopped it; [`crate::exit::code_of`] makes the exit code of it.
pub fn run(cli: Cli) -> Result<ExitCode> {
    let global = &cli.global;
    let makes = makes_data(&cli.command);
    let connect = |global| connect(global, makes);
    match cli.command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "airlock", &mut script);
            print_bytes(&script)?;
        }
        Command::New(args) => new::run(global, &args)?,
        Command::Serve(args) => serve::run(global, &args)?,
        Command::Selftest(args) => return selftest::run(global, &args),
        Command::Mcp => mcp::run(global)?,
        Command::Plugin(cli::Plugin::Add(args)) if args.openapi.write.is_some() => {
            openapi::write(global, &args)?;
        }
        Command::Plugin(args) => plugins::run(&connect(global)?, args)?,
        Command::Grant(args) => grants::grant(&connect(global)?, &args)?,
        Command::Revoke(args) => grants::revoke(&connect(global)?, &args)?,
        Command::Grants(args) => grants::show(&connect(global)?, &args)?,
        Command::Rollback(args) => grants::rollback(&connect(global)?, &args)?,
        Command::Explain(args) => return explain::explain(&connect(global)?, &args),
        Command::Tool(args) => tools::run(&connect(global)?, args)?,
        Command::Run(args) => return runs::start(&connect(global)?, &args),
        Command::Runs(args) => return runs::run(&connect(global)?, args),
        Command::Signal(args) => runs::signal(&connect(global)?, &args)?,
        Command::Halt(args) => halt::run(&connect(global)?, &args)?,
        Command::Approvals(args) => approvals::run(&connect(global)?, args)?,
        Command::Schedules(args) => schedules::run(&connect(global)?, args)?,
        Command::Hooks(args) => hooks::run(&connect(global)?, args)?,
        Command::Workflow(args) => return workflow::run(global, args, || connect(global)),
        Command::Secret(args) => secrets::run(&connect(global)?, args)?,
        Command::Token(args) => tokens::run(&connect(global)?, args)?,
        Command::Audit(args) => return audit::run(global, args),
        Command::Backup { file } => backup::backup(&connect(global)?, &file)?,
        Command::Restore { file, force } => backup::restore(global, &file, force)?,
        Command::Models(cli::Models::Check { file }) => models::check(&file)?,
        Command::Models(args) => models::run(&connect(global)?, args)?,
        Command::Memory(args) => return memory::run(&connect(global)?, args),
        Command::Views(args) => views::run(&connect(global)?, args)?,
        Command::Apply(args) => policy::apply(&connect(global)?, &args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a command begins a data directory where there is none. The others have
/// nothing to read or to change there.
fn makes_data(command: &Command) -> bool {
    match command {
        Command::Apply(args) => args.yes,
        other => matches!(
            other,
            Command::Plugin(cli::Plugin::Add(_))
                | Command::Secret(cli::Secret::Set { .. })
                | Command::Token(cli::Token::Create { .. })
                | Command::Memory(cli::Memory::Import(_) | cli::Memory::Put(_))
        ),
    }
}

/// The server that was named, else the one that owns the data directory, else
/// the data directory itself, which is made where the command `makes` one.
fn connect(global: &Global, makes: bool) -> Result<Session> {
    let settings = Settings::load(global)?;
    let server = server_of(global, &settings)?;
    // Without a server this process is the host whose log says why.
    let filter = if server.is_some() { "off" } else { "error" };
    if server.is_none() || std::env::var_os(FILTER).is_some() {
        start_logging(global.json, filter);
    }
    let format = format_of(global);
    let api = match server {
        Some(base) => Api::Remote(Remote::new(&base, &token(global, &settings, &base)?)),
        None => here(global, &settings, makes)?,
    };
    Ok(Session { api, format })
}

/// The data directory itself, as its owner; or the server that has just got it.
fn here(global: &Global, settings: &Settings, makes: bool) -> Result<Api> {
    check_private(settings)?;
    check_place(settings, makes)?;
    // Whoever gave a token did not mean to act as the owner.
    if given_token(global)?.is_some_and(|token| !token.is_empty()) {
        return Err(Misuse(format!(
            "no server owns {}, and a token is for a server: start one (`airlock serve`), or leave out --token-file and AIRLOCK_TOKEN to act as the owner of the data",
            settings.data.display()
        ))
        .into());
    }
    if !settings.runtime().journal_dir().exists() {
        print_error(&format!(
            "airlock: begins a new data directory, {}",
            settings.data.display()
        ));
    }
    match Local::open(settings)? {
        Ok(local) => Ok(Api::Local(Box::new(local))),
        Err(base) => {
            let token = token(global, settings, &base)?;
            Ok(Api::Remote(Remote::new(&base, &token)))
        }
    }
}

/// How answers are shown.
fn format_of(global: &Global) -> Format {
    match global.json {
        true => Format::Json,
        false => Format::Text,
    }
}

/// What to write in place of a text that is no server's address.
fn no_address(url: &str) -> String {
    match url.contains("://") {
        true => format!("`{url}` is no address of a server: it begins with http:// or https://"),
        false => format!("`{url}` is no address of a server: write http://{url}"),
    }
}

/// The server that was named or that owns the data directory.
fn server_of(global: &Global, settings: &Settings) -> Result<Option<String>> {
    match &global.server {
        // A variable that is set to nothing names no server.
        Some(url) if !url.is_empty() => {
            if !["http://", "https://"].iter().any(|s| url.starts_with(s)) {
                return Err(Misuse(no_address(url)).into());
            }
            // Its own spelling: a name may lead elsewhere.
            let own = settings.running_server().unwrap_or_default();
            let own = own.filter(|own| address(own) == address(url));
            Ok(Some(own.unwrap_or_else(|| url.clone())))
        }
        _ => settings.running_server(),
    }
}

/// The token for the server at `base`. The one beside the data directory opens
/// everything on its own server, and goes to no other.
fn token(global: &Global, settings: &Settings, base: &str) -> Result<String> {
    if let Some(given) = given_token(global)? {
        return Ok(given);
    }
    let file = token_file(&settings.keys);
    let own = settings.running_server()?;
    if own.is_none_or(|own| address(&own) != address(base)) {
        return Err(Misuse(format!(
            "no token for {base}: give --token-file, or set AIRLOCK_TOKEN ({} is for the server of {} alone)",
            file.display(),
            settings.data.display()
        ))
        .into());
    }
    read_token(&file).context("no token: give --token-file, or set AIRLOCK_TOKEN")
}

/// The token that was given with the command or its environment.
fn given_token(global: &Global) -> Result<Option<String>> {
    if let Some(file) = &global.token_file {
        return read_token(file).map(Some);
    }
    let token = std::env::var("AIRLOCK_TOKEN").ok();
    token
        .map(|token| token_of(&token, "AIRLOCK_TOKEN"))
        .transpose()
}

fn read_token(file: &std::path::Path) -> Result<String> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("reading the token in {}", file.display()))?;
    token_of(&text, &file.display().to_string())
}

/// The token that `place` holds, without the white space around it. What is wrong with
/// another text is told without the text: it may be a secret.
fn token_of(text: &str, place: &str) -> Result<String> {
    let token = text.trim();
    if token.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(token.to_owned());
    }
    Err(Misuse(format!(
        "{place} holds more than a token, or something else: it takes the one word that `airlock token create` prints on standard output"
    ))
    .into())
}

/// A server's address in one spelling.
fn address(base: &str) -> String {
    let base = base.trim_end_matches('/').to_ascii_lowercase();
    base.replacen("//localhost", "//127.0.0.1", 1)
}

/// Bytes of a file, or of standard input for `-`.
pub(crate) fn read_input(source: &std::path::Path) -> Result<Vec<u8>> {
    if source.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes)
            .context("reading standard input")?;
        return Ok(bytes);
    }
    std::fs::read(source).with_context(|| format!("reading {}", source.display()))
}
