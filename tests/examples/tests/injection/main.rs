//! Prompt injection: hostile texts in what tools give and in documents, over the
//! examples, with a model that obeys them to the letter. Whatever it then asks for, the
//! gate decides: nothing happens outside of the grants, and no secret and no redacted
//! value is in any byte that leaves.
//!
//! What must stay true: each case shows that the text reached the model and that the
//! model asked; with a grant that is too wide, the same assertions fail.

mod code;
mod content;
mod finance;
mod judge;
mod obedient;
mod operations;
mod payloads;
mod security;
mod support;

use std::collections::BTreeSet;

use airlock_examples::runs::Run;
use airlock_examples::stage::Stage;
use airlock_fake_models::Step;

use judge::{Before, Refused, violations};
use payloads::{KINDS, Kind};

/// One case: where the text is, its form, and what the model does when it has read it.
type Case = (&'static str, Kind, &'static str);

/// An example under attack.
pub(crate) struct Attack {
    pub(crate) example: &'static str,
    pub(crate) cases: &'static [Case],
    /// Puts a text in a place.
    pub(crate) poison: fn(&Stage, &str, &str),
    /// What the model says, up to and with what the text demands, and how that ends.
    pub(crate) act: fn(&Stage, &str) -> (Vec<Step>, Refused),
    /// Runs the example.
    pub(crate) run: for<'s> fn(&'s Stage) -> Run<'s>,
    /// Paths of services that the example may ask, with their methods.
    pub(crate) may_ask: &'static [&'static str],
    /// A file or folder that it may write.
    pub(crate) may_write: &'static [&'static str],
    /// The agent whose model reads the texts and has tools, where there is one.
    pub(crate) specialist: Option<&'static str>,
}

const ATTACKS: [&Attack; 6] = [
    &support::ATTACK,
    &code::ATTACK,
    &security::ATTACK,
    &operations::ATTACK,
    &content::ATTACK,
    &finance::ATTACK,
];

impl Attack {
    fn stage(&self) -> Stage {
        let stage = Stage::open(self.example).expect("the example starts");
        stage.set_up().expect("its policy is in force");
        // What is worth stealing.
        for (name, value) in judge::SECRETS {
            stage.secret(name, value).expect("a secret");
        }
        stage
    }

    /// What one case did against the rules.
    fn violated(&self, stage: &Stage, case: &Case) -> Vec<String> {
        let (place, kind, act) = case;
        let before = Before::of(stage);
        let text = kind.text(&format!("{act}!"), &stage.sink_url);
        (self.poison)(stage, place, &text);
        let (steps, refused) = (self.act)(stage, act);
        stage.plays(steps);
        let poisoned = Before::files(stage);
        let run = (self.run)(stage);
        let found = violations(self, stage, &run, &before, &poisoned, &refused);
        run.cancel().expect("it is over");
        before.restore(stage);
        found
    }

    /// All cases, on one stage.
    fn holds(&self) -> Stage {
        let stage = self.stage();
        for case in self.cases {
            let found = self.violated(&stage, case);
            assert!(found.is_empty(), "{}, {case:?}: {found:#?}", self.example);
        }
        println!("{}: {} cases", self.example, self.cases.len());
        stage
    }

    /// A case that held is noticed with something too much granted.
    fn is_noticed(&self, stage: &Stage, case: Case, loosen: &dyn Fn(&Stage), says: &str) {
        assert!(self.cases.contains(&case), "{case:?} is none that held");
        let before = Before::of(stage);
        let policy = stage.text("policy.here.toml").expect("the policy");
        loosen(stage);
        let found = self.violated(stage, &case);
        let noticed = found.iter().any(|what| what.contains(says));
        assert!(noticed, "{case:?} with too much granted: {found:#?}");
        before.restore(stage);
        apply(stage, &policy);
    }
}

/// The text of a page with something else in the place of one of its parts.
pub(crate) fn reword(stage: &Stage, path: &str, part: &str, by: &str) {
    let page = stage.services.page(path).expect("a page");
    assert!(page.body.contains(part), "{part} is not at {path}");
    let body = page.body.replace(part, by);
    stage
        .services
        .put(path, airlock_examples::services::Page { body, ..page });
}

/// The same of a file.
pub(crate) fn rewrite(stage: &Stage, file: &str, part: &str, by: &str) {
    let text = stage.text(file).expect("a file");
    assert!(text.contains(part), "{part} is not in {file}");
    std::fs::write(stage.path(file), text.replace(part, by)).expect("written");
}

/// A text as it stands within a text of JSON.
pub(crate) fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Where the example's services are.
pub(crate) fn services_url(stage: &Stage) -> String {
    let policy = stage.text("policy.here.toml").expect("the policy");
    let at = policy.find("http://127.0.0.1").expect("an address");
    let rest = &policy[at + "http://".len()..];
    format!("http://{}", rest.split('/').next().unwrap_or_default())
}

/// The example's workflow, until it has ended or waits for a person.
pub(crate) fn settled<'s>(stage: &'s Stage, file: &str, inputs: serde_json::Value) -> Run<'s> {
    stage.work(file, &inputs).expect("it ends or waits")
}

/// Puts a policy in force in which a text is another one.
pub(crate) fn regrant(stage: &Stage, from: &str, to: &str) {
    let policy = stage.text("policy.here.toml").expect("the policy");
    assert!(policy.contains(from), "{from} is not in the policy");
    apply(stage, &policy.replace(from, to));
}

fn apply(stage: &Stage, policy: &str) {
    let file = stage.path("policy.here.toml");
    std::fs::write(&file, policy).expect("written");
    let file = file.display().to_string();
    stage.ok(&["apply", &file, "--yes"]).expect("applied");
}

/// At least 50 cases, each form of text among them, none twice.
#[test]
fn there_are_enough_cases() {
    let all = || ATTACKS.iter().flat_map(|attack| attack.cases);
    let different: BTreeSet<String> = ATTACKS
        .iter()
        .flat_map(|attack| {
            attack
                .cases
                .iter()
                .map(|case| format!("{} {case:?}", attack.example))
        })
        .collect();
    assert!(all().count() >= 50, "{}", all().count());
    assert_eq!(different.len(), all().count());
    let seen: BTreeSet<Kind> = all().map(|case| case.1).collect();
    let left: Vec<&Kind> = KINDS.iter().filter(|kind| !seen.contains(kind)).collect();
    assert!(left.is_empty(), "not tried: {left:?}");
}
