//! What `airlock new` makes, outside the workspace.

use std::path::Path;

use airlock_tests::root;

use crate::Place;

/// Runs the first commands of a crate's README; what the last of them printed.
fn as_its_readme_says(place: &Place, folder: &Path) -> String {
    // One target directory for all: the SDK's dependencies are the same.
    let target = root().join("target/new-plugin");
    let readme = std::fs::read_to_string(folder.join("README.md")).expect("a README");
    let commands = readme.split("```sh\n").nth(1).expect("commands");
    let commands = commands.split("```").next().unwrap_or_default();
    let mut last = String::new();
    for command in commands.lines() {
        last = place.shell(folder, &target, command);
    }
    last
}

/// A plugin made by `airlock new` builds outside the workspace, passes its own
/// tests, and can be installed and called.
#[test]
fn a_new_plugin_builds_anywhere() {
    let place = Place::new();
    place.ok(&["new", "word-count"]);
    let folder = place.folder.join("word-count");
    let last = as_its_readme_says(&place, &folder);
    assert!(last.contains("\"words\": 6"), "{last}");
    let tools = place.json(&["tool", "list", "--plugin", "word-count"]);
    let text = tools.to_string();
    assert!(
        text.contains("word-count") && text.contains("input_schema"),
        "{text}"
    );
    let made = place.json(&["new", "other"]);
    assert_eq!(made["next"][1], "cargo test", "{made}");
    assert_eq!(
        place.run(&["new", "word-count"]).code,
        2,
        "an existing folder is not overwritten"
    );
}

/// An agent made by `airlock new --agent` passes its own tests, natively, and can be
/// installed.
#[test]
fn a_new_agent_builds_anywhere() {
    let place = Place::new();
    place.ok(&["new", "--agent", "reports-on"]);
    let folder = place.folder.join("reports-on");
    assert!(
        !folder.join("agent").exists(),
        "the template's files are where they belong"
    );
    as_its_readme_says(&place, &folder);
    let listed = place.ok(&["plugin", "list"]);
    assert!(listed.contains("an agent: airlock run"), "{listed}");
}
