//! Large and hostile files: each is refused soon, and says by which limit.

use super::*;

fn refused(text: &str, part: &str) {
    let before = std::time::Instant::now();
    let said = said(text);
    assert!(
        said.contains(part),
        "{part}: {}",
        &said[..said.len().min(400)]
    );
    assert!(before.elapsed().as_secs() < 10, "{part}");
}

#[test]
fn aliases_that_multiply_are_counted() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    refused(&bomb, "more than 20000 values");
    // Few values, and many bytes or many levels.
    let aliases = "*a, ".repeat(2_000);
    let long = format!("a: &a {}\nb: [{aliases}]", "x".repeat(100_000));
    refused(&long, "each 64 bytes of a text counted");
    let (open, close) = ("[".repeat(38), "]".repeat(38));
    let ladder: String = (1..20)
        .map(|step| format!("a{step}: &a{step} {open}*a{}{close}\n", step - 1))
        .collect();
    refused(
        &format!("a0: &a0 x\n{ladder}"),
        "3:47: more than 40 lists and maps inside one another",
    );
    // A few are a convenience.
    let shared = "steps:\n  - id: a\n    tool: x/y\n    retry: &again { attempts: 2 }\n  - id: b\n    tool: x/y\n    retry: *again\n";
    let workflow = check(shared).expect("a workflow");
    assert_eq!(workflow.main.steps[1].retry.attempts, 2);
}

#[test]
fn what_is_deep_or_large_is_refused() {
    // The parser's own limit comes first where it looks ahead.
    refused(&"[".repeat(200_000), "recursion limit");
    refused(&"{a: ".repeat(60_000), "recursion limit");
    refused(
        &format!("steps: {}", "- ".repeat(100_000)),
        "this is no YAML",
    );
    refused(&"- ".repeat(100_000), "inside one another");
    let deep: String = (0..400)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    refused(&deep, "inside one another");
    refused(&"x".repeat(300_000), "more than 262144 bytes");
    refused(
        &format!("steps: [{}]", "1,".repeat(100_000)),
        "more than 20000 values",
    );
    refused(&"a: 1\n".repeat(50_000), "stands here twice");
    let steps: String = (0..300)
        .map(|n| format!("  - {{ id: s{n}, tool: x/y }}\n"))
        .collect();
    refused(&format!("steps:\n{steps}"), "more than 200 steps");
    let blocks: String = (0..60)
        .map(|n| format!("  w{n}: {{ steps: [{{ id: a, tool: x/y }}] }}\n"))
        .collect();
    refused(
        &format!("steps: [{{ id: a, tool: x/y }}]\nworkflows:\n{blocks}"),
        "more than 50 sub-workflows",
    );
    let chain: String = (0..20)
        .map(|n| format!("  w{n}: {{ steps: [{{ id: a, workflow: w{} }}] }}\n", n + 1))
        .collect();
    let file = format!(
        "steps: [{{ id: a, workflow: w0 }}]\nworkflows:\n{chain}  w20: {{ steps: [{{ id: a, tool: x/y }}] }}\n"
    );
    refused(&file, "more than 8 sub-workflows inside one another");
}

#[test]
fn many_problems_are_told_up_to_a_number() {
    let steps: String = (0..190)
        .map(|n| format!("  - {{ id: s{n}, tol: x/y, neds: a }}\n"))
        .collect();
    let problems = check(&format!("steps:\n{steps}")).expect_err("many");
    assert_eq!(problems.len(), limits::PROBLEMS_MAX);
    assert_eq!(problems[0].at.line, 2, "the first of the file come first");
}

/// As large as it may be, and every step needs all before it.
#[test]
fn the_largest_workflow_is_read_soon() {
    let steps: String = (0..200)
        .map(|n| {
            let needs: Vec<String> = (n.max(30) - 30..n)
                .map(|other| format!("s{other}"))
                .collect();
            format!(
                "  - {{ id: s{n}, value: {n}, needs: [{}] }}\n",
                needs.join(", ")
            )
        })
        .collect();
    let before = std::time::Instant::now();
    let workflow = check(&format!("steps:\n{steps}")).expect("a workflow");
    assert_eq!(workflow.main.steps[199].needs.len(), 30);
    assert!(before.elapsed().as_secs() < 5);
}
