//! Language models on the command line: listed, tried, paid for.

use std::time::Duration;

use airlock::harness::Server;
use airlock_fake_models::{FakeModels, Reply, Script, What};
use airlock_tests::airlock;

use crate::Place;

/// A role whose first model has no such name at its provider, one that declines, and
/// one that makes vectors.
fn configured(place: &Place, models: &FakeModels) {
    let model =
        "context_tokens = 4000, output_tokens_max = 100, prices = { input = '1', output = '2' }";
    let config = format!(
        "currency = 'USD'\n\
         providers.own = {{ kind = 'openai-compatible', base_url = '{}' }}\n\
         models.gone = {{ provider = 'own', id = 'gone', {model} }}\n\
         models.small = {{ provider = 'own', id = 'small', {model} }}\n\
         roles.fast = {{ models = ['gone', 'small'], retries = 0 }}\n\
         roles.shy = {{ models = ['small'], retries = 0 }}\n",
        models.base_url()
    );
    std::fs::create_dir_all(&place.data).expect("made");
    std::fs::write(place.data.join("models.toml"), config).expect("written");
}

#[test]
fn a_role_is_tried_from_the_command_line() {
    let place = Place::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let gone = What::error(404, "model_not_found", "no such model");
    let no = What::Answer(Reply {
        refusal: Some("No.".to_owned()),
        ..Reply::default()
    });
    let script = Script::of([gone, What::text("Hello."), no]);
    let models = runtime
        .block_on(FakeModels::start(script))
        .expect("a server");
    configured(&place, &models);
    let server = Server::start(&airlock(), &place.data, &[]).expect("the server starts");
    let listed = place.ok(&["models", "list"]);
    assert!(
        listed.contains("fast") && listed.contains("gone"),
        "{listed}"
    );
    let tried = place.ok(&["models", "try", "fast", "Say hello."]);
    let lines: Vec<&str> = tried.lines().collect();
    assert!(lines[0].starts_with("failed: gone: missing"), "{tried}");
    assert_eq!(lines[1], "Hello.", "{tried}");
    assert!(lines[2].starts_with("small answered in "), "{tried}");
    assert!(lines[2].contains(" tokens, cost 0.0000"), "{tried}");
    assert!(models.seen()[1].text.contains("Say hello."));
    let table = [
        (&["models", "try", "shy"][..], 0, "No."),
        (&["models", "try", "absent"], 4, "there is no role `absent`"),
    ];
    for (command, code, text) in table {
        let ran = place.run(command);
        assert_eq!(ran.code, code, "{command:?}: {}{}", ran.out, ran.err);
        let said = ran.out + &ran.err;
        assert!(said.contains(text), "{command:?}: {said}");
    }
    let audited = place.ok(&["audit", "list", "--json"]);
    assert_eq!(audited.matches("admin.models.try").count(), 2, "{audited}");
    let stopped = server.stop(Duration::from_secs(60)).expect("it stops");
    assert!(stopped.success());
}
