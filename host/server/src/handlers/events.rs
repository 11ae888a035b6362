//! A call told as it goes (server-sent events): `progress` as the tool reports
//! it, then `result` or `problem`.
//!
//! What must stay true: a client that reads slowly sees fewer reports and holds
//! nothing up; one that leaves ends its call, as it does without events.

use std::sync::Arc;

use airlock_runtime::{CallRefused, CallStage, StoredReply, ToolCall};
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::header::ACCEPT;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use crate::dispatch::Call;
use crate::reply::{EVENTS, Refusal, Reply, ReplyBody};

type Answer = Result<StoredReply, CallRefused>;

/// Whether the client asks for events.
pub(crate) fn wanted(call: &Call) -> bool {
    let accepted = call.headers.get_all(ACCEPT).iter();
    let mut ranges = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','));
    ranges.any(|range| {
        let essence = range.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case(EVENTS)
    })
}

/// Makes a call and tells it as it goes. One that does not begin (it is refused,
/// or was made before) is answered without events.
pub(crate) async fn answer(call: Call, mut tool_call: ToolCall) -> Result<Reply, Refusal> {
    let (sender, mut stage) = watch::channel(CallStage::Waiting);
    tool_call.stage = Some(sender);
    let (runtime, who) = (Arc::clone(call.runtime()), Arc::clone(&call.who));
    let mut work = Work(tokio::spawn(
        async move { runtime.call(&who, tool_call).await },
    ));
    // Also resolves when it ends without having begun.
    let _ = stage.wait_for(|stage| *stage != CallStage::Waiting).await;
    if *stage.borrow() == CallStage::Waiting {
        return Ok(joined((&mut work.0).await)?.into());
    }
    // What was reported before this looked is still to be told.
    stage.mark_changed();
    let telling = Telling {
        stage: Some(stage),
        work,
        call,
    };
    let events = stream::unfold(Some(telling), |telling| async {
        let (event, telling) = telling?.next().await;
        Some((Ok::<_, std::convert::Infallible>(event), telling))
    });
    Ok(Reply {
        body: ReplyBody::Stream(Body::from_stream(events)),
        ..Reply::bytes(200, EVENTS, Bytes::new())
    })
}

/// The call; it is cancelled when this is dropped.
struct Work(JoinHandle<Answer>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Telling {
    /// `None`: all of it was told.
    stage: Option<watch::Receiver<CallStage>>,
    work: Work,
    /// Its body counts among those held for as long as the call goes on.
    call: Call,
}

impl Telling {
    /// The next event, and what follows it.
    async fn next(mut self) -> (Bytes, Option<Self>) {
        loop {
            tokio::select! {
                biased;
                changed = changed(&mut self.stage) => match changed {
                    Some(CallStage::Running(Some(progress))) => {
                        let data = serde_json::to_vec(&progress).unwrap_or_default();
                        return (event(None, "progress", &data), Some(self));
                    }
                    Some(_) => {}
                    None => self.stage = None,
                },
                ended = &mut self.work.0 => return (last(ended), None),
                () = tokio::time::sleep(self.call.app.config.events_keep_alive) => {
                    return (Bytes::from_static(b": the call goes on\n\n"), Some(self));
                }
            }
        }
    }
}

/// The stage once it is another one; `None` when there will be none.
async fn changed(stage: &mut Option<watch::Receiver<CallStage>>) -> Option<CallStage> {
    match stage {
        Some(stage) => match stage.changed().await {
            Ok(()) => Some(stage.borrow_and_update().clone()),
            Err(_) => None,
        },
        None => std::future::pending().await,
    }
}

fn joined(ended: Result<Answer, JoinError>) -> Answer {
    ended.unwrap_or(Err(CallRefused::Interrupted))
}

fn last(ended: Result<Answer, JoinError>) -> Bytes {
    match joined(ended) {
        Ok(reply) if reply.status < 400 => event(None, "result", &reply.body),
        Ok(reply) => event(None, "problem", &reply.body),
        Err(refused) => event(None, "problem", &Refusal::from(refused).0.to_json()),
    }
}

/// An event, with an id for one that a client can go on after; line ends of
/// `data`, which JSON has between its parts only, become lines of the event.
pub(crate) fn event(id: Option<u64>, name: &str, data: &[u8]) -> Bytes {
    let mut text = id.map_or_else(Vec::new, |id| format!("id: {id}\n").into_bytes());
    text.extend_from_slice(format!("event: {name}\n").as_bytes());
    let carriage = |byte: &u8| *byte == b'\n' || *byte == b'\r';
    for line in data.split(carriage) {
        text.extend_from_slice(b"data: ");
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.push(b'\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_several_lines_stays_one_event() {
        let table: [(&[u8], &[u8]); 3] = [
            (b"{}", b"event: result\ndata: {}\n\n"),
            (b"{\n}", b"event: result\ndata: {\ndata: }\n\n"),
            (b"{\r\n}", b"event: result\ndata: {\ndata: \ndata: }\n\n"),
        ];
        for (data, expect) in table {
            assert_eq!(event(None, "result", data), expect, "{data:?}");
        }
    }
}
