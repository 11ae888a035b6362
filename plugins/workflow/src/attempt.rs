//! Trying again.

use airlock_sdk::agent;
use airlock_sdk::prelude::*;
use airlock_workflow::Retry;

use crate::act::bounded;
use crate::fail::Fail;
use crate::pool::Stop;

/// Tries until it is done, or the error is none to try again after, or there are
/// no attempts left.
pub(crate) async fn again<T>(
    retry: &Retry,
    stop: &Stop,
    mut attempt: impl AsyncFnMut() -> Result<T, Fail>,
) -> Result<T, Fail> {
    let mut made = 1;
    loop {
        let error = match attempt().await {
            Err(Fail::Error(error)) if made < retry.attempts && is_for(retry, &error) => error,
            ended => return ended,
        };
        if stop.is_said() {
            return Err(Fail::Error(error));
        }
        let mut wait = retry.wait(made);
        if let Error::Transient {
            retry_after: Some(after),
            ..
        } = &error
        {
            // No server makes the workflow wait longer than its file says.
            wait = wait.max((*after).min(retry.backoff_max));
        }
        agent::log(&format!("attempt {made} of {}: {error}", retry.attempts));
        bounded(agent::sleep(wait).into_future(), None, stop).await??;
        made += 1;
    }
}

fn is_for(retry: &Retry, error: &Error) -> bool {
    retry.on.iter().any(|code| code == error.code())
}
