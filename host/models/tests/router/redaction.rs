//! What leaves, and what comes back.

use airlock_fake_models::{Call, Reply, What};
use airlock_models::{Event, Message};

use super::harness::{PROTOCOLS, question, said, tool, world};

/// The placeholder that stands for the address in what was sent.
fn placeholder(sent: &str) -> String {
    let at = sent.find("[email-").expect("a placeholder");
    sent[at..at + "[email-".len() + 17].to_owned()
}

#[tokio::test]
async fn what_must_not_leave_comes_back_as_it_was() {
    for role in PROTOCOLS {
        let ask = "write to me@b.test with hunter2-and-more, card 4111 1111 1111 1111";
        let mut request = question(role, ask);
        request.tools = vec![tool("mail/send")];
        let world = world([What::text("first")]).await;
        world.ask(&request).await.expect("an answer");
        let sent = world.server.seen()[0].text.clone();
        for hidden in ["me@b.test", "hunter2", "4111"] {
            assert!(!sent.contains(hidden), "{role}: {sent}");
        }
        assert!(sent.contains("[secret]") && sent.contains("[card-"));
        let token = placeholder(&sent);
        let reply = Reply {
            text: format!("to {token} and [secret]"),
            calls: vec![Call {
                id: "c1".to_owned(),
                name: "mail_send".to_owned(),
                arguments: format!("{{\"path\":\"{token}\"}}"),
            }],
            ..Reply::default()
        };
        world.server.push(What::Answer(reply.clone()).into());
        world.server.push(What::Answer(reply).into());
        let whole = world.ask(&request).await.expect("an answer");
        assert_eq!(
            whole.text, "to me@b.test and [secret]",
            "{role}: a secret stays where it was"
        );
        assert_eq!(whole.calls[0].arguments, r#"{"path":"me@b.test"}"#);
        let (streamed, events) = world.stream(&request).await;
        assert_eq!(streamed.expect("an answer").text, whole.text);
        assert_eq!(said(&events), whole.text, "also in pieces");
        let arguments = events.iter().filter_map(|event| match event {
            Event::Arguments { text, .. } => Some(text.as_str()),
            _ => None,
        });
        assert_eq!(arguments.collect::<String>(), whole.calls[0].arguments);
        // The next turn has the values again, and the provider sees the same words.
        request.messages.push(Message::Assistant {
            text: whole.text,
            calls: vec![],
        });
        request.messages.push(super::harness::user("and now?"));
        world.server.push(What::text("last").into());
        world.ask(&request).await.expect("an answer");
        let sent = world.server.seen().last().expect("it came").text.clone();
        assert_eq!(sent.matches(&token).count(), 2, "{sent}");
        assert!(!sent.contains("me@b.test"));
    }
}
