//! The examples beside this crate: each is checked and run.

use super::*;

fn example(name: &str) -> String {
    let path = format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("an example")
}

#[test]
fn the_examples_pass_the_check() {
    let folder = format!("{}/examples", env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the examples").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("text");
        let problems = airlock_workflow::check(&text).err().unwrap_or_default();
        assert!(
            problems.is_empty(),
            "{}: {problems:#?}",
            entry.path().display()
        );
        count += 1;
    }
    assert_eq!(count, 3);
}

/// What the manual shows is what the check says of it.
#[test]
fn the_manual_is_right() {
    let folder = env!("CARGO_MANIFEST_DIR");
    let manual = std::fs::read_to_string(format!("{folder}/../../docs/workflows.md"));
    let manual = manual.expect("docs/workflows.md");
    let readme = std::fs::read_to_string(format!("{folder}/README.md")).expect("README.md");
    let mut files = Vec::new();
    for text in [&manual, &readme] {
        let blocks = text.split("```yaml\n").skip(1);
        files.extend(blocks.filter_map(|rest| rest.split("```").next()));
    }
    assert_eq!(files.len(), 2);
    for file in &files {
        let problems = airlock_workflow::check(file).err().unwrap_or_default();
        assert!(problems.is_empty(), "{problems:#?}\n{file}");
    }
    let wrong = files[0].replace("tool: files/list", "tool: files-list");
    let wrong = wrong.replace("Report ${{ steps.list", "Report ${{ steps.lst");
    for problem in airlock_workflow::check(&wrong).expect_err("two problems") {
        let line = format!("hello.yaml:{problem}\n");
        assert!(manual.contains(&line), "{line}");
    }
    for key in airlock_workflow::published()["$defs"]["step"]["properties"]
        .as_object()
        .expect("keys")
        .keys()
    {
        assert!(
            manual.contains(&format!("`{key}")),
            "`{key}` is not in the manual"
        );
    }
}

#[test]
fn invoices_are_checked_and_reported() {
    let host = testing::agent()
        .tool("files/list", |input| {
            assert_eq!(input["path"], "/invoices/2026-05");
            Ok(json!({ "entries": [
                { "name": "a.json", "kind": "file", "size": 10 },
                { "name": "old", "kind": "directory" },
                { "name": "b.json", "kind": "file", "size": 20 },
            ] }))
        })
        .tool("files/read", |input| {
            let amount = if input["path"] == "/invoices/2026-05/a.json" {
                700
            } else {
                900
            };
            Ok(json!({ "content": format!("{{\"supplier\": \"ACME\", \"amount\": {amount}}}") }))
        })
        .tool("report/render", |input| {
            Ok(json!({ "html": input["markdown"] }))
        })
        .tool("files/write", Ok)
        .decides(|question| {
            assert_eq!(question.text, "Report invoices of 1600 for 2026-05?");
            Answer::choice("publish").after(3600 * S)
        });
    let run = runs(
        host,
        &example("invoices.yaml"),
        json!({ "month": "2026-05" }),
    );
    assert_eq!(run.output(), json!({ "total": 1600, "published": true }));
    let written = run.calls_of("files/write")[0];
    assert_eq!(written["path"], "/out/2026-05.html");
    assert!(
        written["content"].is_string(),
        "as `files` takes it: {written}"
    );
}

#[test]
fn a_trip_that_can_not_be_paid_is_undone() {
    let host = |pays: bool| {
        testing::agent()
            .tool("hotel/book", |_| Ok(json!({ "id": "H" })))
            .tool("flight/book", |_| Ok(json!({ "id": "F" })))
            .tool("hotel/cancel", Ok)
            .tool("flight/cancel", Ok)
            .tool("payments/charge", move |_| match pays {
                true => Ok(json!({ "receipt": "R" })),
                false => Err(Error::permanent("declined")),
            })
    };
    let inputs =
        json!({ "traveller": "ada", "from": "2027-03-01", "to": "2027-03-04", "amount": 5 });
    let run = runs(host(true), &example("trip.yaml"), inputs.clone());
    assert_eq!(
        run.output(),
        json!({ "hotel": "H", "flight": "F", "receipt": "R" })
    );
    let run = runs(host(false), &example("trip.yaml"), inputs);
    assert_eq!(run.error(), Error::permanent("step `pay`: declined"));
    assert_eq!(called(&run)[3..], ["flight/cancel", "hotel/cancel"]);
}

#[test]
fn a_day_is_loaded_by_its_interval() {
    let host = |fails: bool| {
        testing::agent()
            .tool("fetch/get", move |input| {
                let url = input["url"].as_str().unwrap_or_default().to_owned();
                match fails && url.contains("orders") {
                    true => Err(Error::not_found(url)),
                    false => Ok(json!({ "json": [{ "url": url }, 2] })),
                }
            })
            .tool("files/write", Ok)
            .tool("mail/send", Ok)
    };
    let input = json!({
        "workflow": example("daily-load.json"),
        "inputs": { "base": "https://api.example.com" },
        "interval": { "start": "2026-05-01", "end": "2026-05-02" },
    });
    let run = runs_with(host(false), input.clone());
    assert_eq!(run.output(), json!({ "rows": 6 }));
    let written = run.calls_of("files/write");
    assert_eq!(written[0]["path"], "/data/2026-05-01.json");
    assert!(run.calls_of("mail/send").is_empty());
    let run = runs_with(host(true), input);
    assert_eq!(run.calls_of("mail/send").len(), 1, "somebody is told");
    assert!(run.calls_of("files/write").is_empty());
    assert_eq!(run.output(), json!({ "rows": 0 }));
}
