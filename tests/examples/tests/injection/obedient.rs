//! The same where the agent is no help either: one that makes each call that its model
//! asks for, without looking whether it was offered the tool. It has the grants of the
//! specialist in whose place it is, so the host denies each other call, on record.

use airlock_examples::stage::{Stage, component};
use airlock_fake_models::What;
use serde_json::{Value, json};

use crate::judge::{self, Refused};
use crate::{ATTACKS, Attack, apply};

/// The calls of the cases that the specialist's own model was not offered.
fn not_offered(attack: &Attack, stage: &Stage, granted: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (_, _, act) in attack.cases {
        let (steps, refused) = (attack.act)(stage, act);
        if refused != Refused::NotOffered {
            continue;
        }
        for step in steps {
            let What::Answer(reply) = step.what else {
                continue;
            };
            for call in reply.calls {
                let tool = call.name.replacen('_', "/", 1);
                let own = matches!(&*call.name, "finish" | "give_up");
                if !own && !granted.contains(&format!("\"{tool}\"")) {
                    let input = serde_json::from_str(&call.arguments).expect("JSON");
                    found.push((tool, input));
                }
            }
        }
    }
    found
}

/// What the policy grants to a plugin as tools.
fn tools_of(policy: &str, plugin: &str) -> String {
    let head = format!("[plugins.{plugin}.grants]\n");
    let (_, after) = policy.split_once(&head).expect("its grants");
    let (_, tools) = after.split_once("tools = [").expect("its tools");
    let tools = tools.split("\n\n").next().unwrap_or_default();
    format!("tools = [{tools}\n")
}

/// As the specialist, with an agent that obeys in its place.
fn denies(attack: &Attack, plugin: &str) -> usize {
    let stage = attack.stage();
    let policy = stage.text("policy.here.toml").expect("the policy");
    let granted = tools_of(&policy, plugin);
    let file = component("agent-prober");
    let source = format!("\n[plugins.obedient]\nsource = {file:?}\n[plugins.obedient.grants]\n");
    apply(&stage, &format!("{policy}{source}{granted}"));
    let calls = not_offered(attack, &stage, &granted);
    let steps: Vec<Value> = calls
        .iter()
        .map(|(tool, input)| json!({ "call": { "tool": tool, "input": input } }))
        .collect();
    stage.plays([]);
    let before = judge::Before::of(&stage);
    let run = stage
        .start("obedient", &json!({ "steps": steps }))
        .expect("a run");
    run.follow().expect("it ends");
    let found = judge::harm(attack, &stage, &before);
    assert!(found.is_empty(), "{}: {found:#?}", attack.example);
    let audited = judge::audit(&stage).join("\n");
    for (tool, _) in &calls {
        let denied = format!("call {tool}");
        assert!(
            audited.contains(&denied),
            "{}: {denied} is not on record: {audited}",
            attack.example
        );
    }
    calls.len()
}

#[test]
fn an_agent_that_obeys_gives_nothing_away() {
    let mut made = 0;
    for attack in ATTACKS {
        let Some(plugin) = attack.specialist else {
            continue;
        };
        made += denies(attack, plugin);
    }
    assert!(made >= 15, "{made}");
}
