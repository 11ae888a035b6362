//! About how many bytes a record has in the journal and in memory.
//!
//! What must stay true: it follows from the record alone, and is never less than
//! the text that an agent, a tool or a caller put into it.

use airlock_sandbox::agent::{AgentTool, Note, Request};

use super::event::{Event, Told};

/// Of a record with no text.
const EACH: u64 = 64;

/// The weight of a record, bytes.
pub(super) fn of(event: &Event) -> u64 {
    let text = match event {
        Event::Started(start) => {
            let signals = start.signals.iter();
            let signals: usize = signals.map(|(name, text)| name.len() + text.len()).sum();
            let state = start.state.iter();
            let state: usize = state.map(|(key, value)| key.len() + value.len()).sum();
            start.goal.len() + start.input.len() + signals + state
        }
        Event::Requested { request, .. } => asked(request),
        Event::Recorded { value, .. } => value.len(),
        Event::Answered { answer, .. } => told(answer),
        Event::ToolsTold { tools: Some(tools) } => tools.iter().map(tool).sum(),
        Event::StateSet { key, value } => key.len() + value.as_ref().map_or(0, String::len),
        Event::Noted(note) => noted(note),
        Event::Signalled { name, payload, .. } => name.len() + payload.len(),
        Event::Retried { why, .. } => why.len(),
        Event::Woke { ready, .. } => ready.len() * 8,
        _ => 0,
    };
    EACH + text as u64
}

fn asked(request: &Request) -> usize {
    match request {
        Request::Call { tool, input } => tool.len() + input.len(),
        Request::Ask {
            text,
            choices,
            payload,
            ..
        } => {
            let choices: usize = choices.iter().map(String::len).sum();
            text.len() + choices + payload.as_ref().map_or(0, String::len)
        }
        Request::Signal { name } => name.len(),
        Request::Record { value } => value.len(),
        Request::Start {
            agent, goal, input, ..
        } => agent.len() + goal.len() + input.len(),
        Request::Chat { request, .. }
        | Request::Embed { request }
        | Request::Memory { request } => request.len(),
        Request::Timer { .. } => 0,
    }
}

fn told(answer: &Told) -> usize {
    match answer {
        Told::Ok(output) => output.len(),
        Told::Error(error) => error.to_string().len(),
    }
}

fn tool(tool: &AgentTool) -> usize {
    tool.name.len()
        + tool.description.len()
        + tool.input_schema.len()
        + tool.output_schema.as_ref().map_or(0, String::len)
}

fn noted(note: &Note) -> usize {
    match note {
        Note::Plan { tasks } => tasks.iter().map(|task| task.title.len() + 16).sum(),
        Note::Progress { message, .. } | Note::Log { message, .. } => message.len(),
    }
}
