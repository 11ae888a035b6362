use std::fs;

use airlock_sdk::Error;
use airlock_sdk::testing::call;
use serde_json::{Value, json};

use super::PLUGIN;

const INVOICES: &str =
    "id,contract,amount,paid\n1,C-1,100.10,true\n2,C-1,200.20,false\n3,C-2,0.30,true\n4,C-9,5,\n";

fn contracts() -> Value {
    json!([
        { "contract": "C-1", "customer": "Ada | Co", "cap": 300.3 },
        { "contract": "C-2", "customer": "Grace", "cap": 1 },
        { "contract": "C-3", "customer": null, "cap": 7.25 },
    ])
}

fn ask(sql: &str) -> Result<Value, Error> {
    let tables = json!({ "invoices": { "csv": INVOICES }, "contracts": { "json": contracts() } });
    call(
        &PLUGIN,
        "query",
        json!({ "sql": sql, "tables": tables, "markdown": true }),
    )
}

#[test]
fn a_quoted_column_has_its_own_name() {
    let tables = json!({ "t": { "csv": "Net Amount,a\n5,x\n" } });
    for (sql, row) in [
        ("SELECT \"Net Amount\" FROM t", json!({ "Net Amount": 5 })),
        ("SELECT t.\"Net Amount\" FROM t", json!({ "Net Amount": 5 })),
        (
            "SELECT \"a\", \"a\" FROM t",
            json!({ "a": "x", "a_2": "x" }),
        ),
    ] {
        let reply = call(&PLUGIN, "query", json!({ "sql": sql, "tables": tables })).unwrap();
        assert_eq!(reply["rows"], json!([row]), "{sql}");
    }
}

#[test]
fn queries_join_filter_and_aggregate() {
    let cases = [
        (
            "SELECT id FROM invoices WHERE amount > 100 ORDER BY id DESC",
            json!([{ "id": 2 }, { "id": 1 }]),
        ),
        (
            "SELECT SUM(amount) AS total FROM invoices WHERE contract = 'C-1'",
            json!([{ "total": 300.3 }]),
        ),
        (
            "SELECT COUNT(*) AS n, MIN(amount) AS low, MAX(amount) AS high FROM invoices",
            json!([{ "n": 4, "low": 0.3, "high": 200.2 }]),
        ),
        (
            "SELECT i.id, c.customer FROM invoices i JOIN contracts c ON i.contract = c.contract ORDER BY i.id",
            json!([{ "id": 1, "customer": "Ada | Co" }, { "id": 2, "customer": "Ada | Co" }, { "id": 3, "customer": "Grace" }]),
        ),
        (
            "SELECT i.id FROM invoices i LEFT JOIN contracts c ON i.contract = c.contract WHERE c.contract IS NULL",
            json!([{ "id": 4 }]),
        ),
        (
            "SELECT c.contract, c.cap, SUM(i.amount) AS billed FROM contracts c LEFT JOIN invoices i ON i.contract = c.contract GROUP BY c.contract, c.cap HAVING SUM(i.amount) <> c.cap ORDER BY c.contract",
            json!([{ "contract": "C-2", "cap": 1, "billed": 0.3 }]),
        ),
        (
            "SELECT contract, CASE WHEN ABS(amount - 100) < 0.5 THEN 'near' ELSE 'far' END AS verdict FROM invoices WHERE id IN (1, 3)",
            json!([{ "contract": "C-1", "verdict": "near" }, { "contract": "C-2", "verdict": "far" }]),
        ),
        (
            "SELECT id FROM invoices WHERE paid IS NULL OR NOT paid",
            json!([{ "id": 2 }, { "id": 4 }]),
        ),
        (
            "SELECT a.id, b.id FROM invoices a JOIN invoices b ON a.id = b.id WHERE a.id = 1",
            json!([{ "id": 1, "id_2": 1 }]),
        ),
        (
            "SELECT id FROM invoices WHERE amount = (SELECT MAX(amount) FROM invoices)",
            json!([{ "id": 2 }]),
        ),
        (
            "SELECT DISTINCT contract FROM invoices ORDER BY contract LIMIT 2",
            json!([{ "contract": "C-1" }, { "contract": "C-2" }]),
        ),
        (
            "SELECT amount * 3 AS x FROM invoices WHERE id = 3",
            json!([{ "x": 0.9 }]),
        ),
        ("SELECT id FROM invoices WHERE id > 99", json!([])),
    ];
    for (sql, expected) in cases {
        let answer = ask(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(answer["rows"], expected, "{sql}");
    }
}

#[test]
fn unknown_values_follow_three_valued_logic() {
    // u is NULL, t is TRUE, f is FALSE.
    let cases = [
        ("t OR u", json!(true)),
        ("u OR t", json!(true)),
        ("f OR u", json!(null)),
        ("u OR u", json!(null)),
        ("f OR f", json!(false)),
        ("t OR t", json!(true)),
        ("t AND u", json!(null)),
        ("f AND u", json!(false)),
        ("u AND f", json!(false)),
        ("t AND t", json!(true)),
        ("NOT (f AND u)", json!(true)),
        ("NOT (f OR u)", json!(null)),
        ("(f AND u) OR t", json!(true)),
        ("(f OR u) IS NULL", json!(true)),
        ("NOT u", json!(null)),
        ("f OR (t AND (u OR t))", json!(true)),
        ("u = u", json!(null)),
        ("n = 1 AND t", json!(null)),
    ];
    let tables = json!({ "x": { "json": [{ "t": true, "f": false }], "types": {} } });
    let mut tables = tables;
    tables["x"]["json"][0]["u"] = json!(null);
    tables["x"]["json"][0]["n"] = json!(null);
    tables["x"]["types"] = json!({ "u": "boolean", "n": "decimal" });
    for (expression, expected) in cases {
        let found = |sql: String| {
            call(&PLUGIN, "query", json!({ "sql": sql, "tables": tables })).unwrap()["rows"].clone()
        };
        assert_eq!(
            found(format!("SELECT {expression} AS v FROM x")),
            json!([{ "v": expected }]),
            "{expression}"
        );
        let kept = found(format!("SELECT 1 AS v FROM x WHERE {expression}"));
        assert_eq!(
            kept.as_array().unwrap().len(),
            usize::from(expected == json!(true)),
            "WHERE {expression}"
        );
    }
}

#[test]
fn unknown_values_do_not_join_or_count() {
    let tables = json!({
        "l": { "json": [{ "k": null, "v": 1 }, { "k": "a", "v": 2 }, { "k": "b", "v": null }] },
        "r": { "json": [{ "k": null, "w": 10 }, { "k": "a", "w": 0.5 }] },
    });
    let cases = [
        (
            "SELECT COUNT(*) AS n FROM l JOIN r ON l.k = r.k",
            json!([{ "n": 1 }]),
        ),
        (
            "SELECT COUNT(v) AS n, COUNT(*) AS all_rows, SUM(v) AS s, AVG(v) AS a FROM l",
            json!([{ "n": 2, "all_rows": 3, "s": 3, "a": 1.5 }]),
        ),
        (
            "SELECT l.v FROM l LEFT JOIN r ON l.k = r.k WHERE r.w IS NULL OR r.w <> l.v ORDER BY l.v",
            json!([{ "v": 1 }, { "v": 2 }, { "v": null }]),
        ),
        ("SELECT v FROM l WHERE v > 1.5", json!([{ "v": 2 }])),
        ("SELECT SUM(v) / COUNT(*) AS q FROM l", json!([{ "q": 1 }])),
        (
            "SELECT k FROM l GROUP BY k HAVING COUNT(*) >= 1 AND SUM(v) > 1.5",
            json!([{ "k": "a" }]),
        ),
        (
            "SELECT v % 2 AS m, ROUND(CAST(v * 1.26 * 10 AS FLOAT)) / 10 AS r FROM l WHERE v = 1",
            json!([{ "m": 1, "r": 1.3 }]),
        ),
        (
            "SELECT v FROM l WHERE v = -1 OR v IN (2.0, 7) OR v BETWEEN (1.5) AND 1.9",
            json!([{ "v": 2 }]),
        ),
        (
            "SELECT CASE v WHEN 1 THEN 'one' WHEN 2.0 THEN 'two' ELSE 'none' END AS c FROM l ORDER BY v",
            json!([{ "c": "one" }, { "c": "two" }, { "c": "none" }]),
        ),
        (
            "SELECT SUBSTR('abc', 2, 1) AS s, l.k FROM l WHERE 2 = v LIMIT 1",
            json!([{ "s": "b", "k": "a" }]),
        ),
        (
            "SELECT k FROM l GROUP BY k HAVING COUNT(*) = 1 AND COUNT(*) > 0.5 AND AVG(v) = 2",
            json!([{ "k": "a" }]),
        ),
        ("SELECT w FROM r WHERE w = 10.0", json!([{ "w": 10 }])),
        (
            "SELECT w / 4 AS q FROM r WHERE k = 'a'",
            json!([{ "q": 0.125 }]),
        ),
        (
            "SELECT COALESCE(v, 0) AS v FROM l WHERE k = 'b'",
            json!([{ "v": 0 }]),
        ),
        (
            "SELECT SUM(v) AS s FROM l WHERE k = 'z'",
            json!([{ "s": null }]),
        ),
        ("SELECT v FROM l WHERE v NOT IN (1, 5)", json!([{ "v": 2 }])),
    ];
    for (sql, expected) in cases {
        let answer = call(&PLUGIN, "query", json!({ "sql": sql, "tables": tables }))
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(answer["rows"], expected, "{sql}");
    }
}

#[test]
fn the_markdown_is_a_table_that_text_cannot_break() {
    let answer = ask("SELECT customer, cap FROM contracts ORDER BY contract").unwrap();
    assert_eq!(
        answer["markdown"],
        "| customer | cap |\n| --- | ---: |\n| Ada \\| Co | 300.3 |\n| Grace | 1 |\n|  | 7.25 |\n"
    );
    let tables = json!({ "t": { "json": [{ "a": "x\n| y | <script>alert(1)</script>" }] } });
    let answer = call(
        &PLUGIN,
        "query",
        json!({ "sql": "SELECT a FROM t", "tables": tables, "markdown": true }),
    )
    .unwrap();
    let last = answer["markdown"].as_str().unwrap().lines().nth(2).unwrap();
    assert_eq!(last, "| x \\| y \\| \\<script\\>alert(1)\\</script\\> |");
}

#[test]
fn what_is_no_query_is_refused() {
    let cases = [
        ("", "exactly one SELECT"),
        ("SELECT 1; SELECT 2", "exactly one SELECT"),
        ("DROP TABLE invoices", "exactly one SELECT"),
        (
            "INSERT INTO invoices VALUES (1, 'a', 1, true)",
            "exactly one SELECT",
        ),
        ("SELEC id FROM invoices", "sql: "),
        ("SELECT nothing FROM invoices", "nothing"),
        ("SELECT * FROM elsewhere", "elsewhere"),
        ("SELECT id FROM invoices WHERE contract > 1 + 'x'", "sql: "),
    ];
    for (sql, part) in cases {
        match ask(sql) {
            Err(Error::InvalidInput(message)) => {
                assert!(message.contains(part), "{sql}: {message}")
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
    let deep = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert_eq!(
        ask(&deep).map_err(|error| error.code()),
        Err("invalid-input")
    );
}

#[test]
fn types_are_guessed_without_loss() {
    let csv = "a,b,c,d,e,f,g\n1,1.10,007,x,,true,1e300\n-2,3,12,4,,FALSE,2\n";
    let tables = json!({ "t": { "csv": csv } });
    let description = call(&PLUGIN, "describe", json!({ "tables": tables })).unwrap();
    let types: Vec<&str> = description["tables"]["t"]["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "decimal", "decimal", "text", "text", "text", "boolean", "float"
        ]
    );
    assert_eq!(description["tables"]["t"]["row_count"], 2);
    let given = json!({ "t": { "csv": csv, "types": { "c": "decimal", "a": "text" } } });
    let answer = call(
        &PLUGIN,
        "query",
        json!({ "sql": "SELECT a, c, g FROM t WHERE c = 7", "tables": given }),
    )
    .unwrap();
    assert_eq!(answer["rows"], json!([{ "a": "1", "c": 7, "g": 1e300 }]));
}

#[test]
fn large_and_odd_numbers_stay_what_they_are() {
    let cases = [
        (
            json!(9_007_199_254_740_993_i64),
            json!(9_007_199_254_740_993_i64),
        ),
        (json!(u64::MAX), json!(u64::MAX)),
        (json!(0.1), json!(0.1)),
        (json!(-12345.67), json!(-12345.67)),
        (json!("\u{0}\u{1F600}"), json!("\u{0}\u{1F600}")),
        (json!([1, { "b": 2 }]), json!("[1,{\"b\":2}]")),
    ];
    for (given, expected) in cases {
        let tables = json!({ "t": { "json": [{ "v": given }] } });
        let answer = call(
            &PLUGIN,
            "query",
            json!({ "sql": "SELECT v FROM t", "tables": tables }),
        )
        .unwrap();
        assert_eq!(answer["rows"], json!([{ "v": expected }]), "{given}");
    }
}

#[test]
fn sources_that_make_no_table_are_refused() {
    let cases = [
        (json!({}), "exactly one of"),
        (json!({ "csv": "a\n1", "json": [] }), "exactly one of"),
        (json!({ "csv": "a,a\n1,2\n" }), "two columns"),
        (json!({ "csv": "a,\n1,2\n" }), "column 2 has no name"),
        (json!({ "csv": "a,b\n1\n" }), "CSV: "),
        (json!({ "csv": "" }), "no columns"),
        (json!({ "csv": "a\n1", "delimiter": "é" }), "delimiter"),
        (
            json!({ "csv": "a\nx", "types": { "a": "decimal" } }),
            "not decimal in row 1",
        ),
        (
            json!({ "csv": "a\nx", "types": { "b": "decimal" } }),
            "no column `b`",
        ),
        (json!({ "json": { "a": 1 } }), "not an array"),
        (json!({ "json": [1] }), "item 1 is not an object"),
        (json!({ "json": {}, "pointer": "/x" }), "nothing at"),
        (json!({ "jsonl": "{}\n{" }), "line 2"),
        (json!({ "path": "/no/such/file.csv" }), "No such file"),
        (json!({ "path": "Cargo.toml" }), "not a .csv"),
        (json!({ "parquet": "x" }), "unknown field"),
    ];
    for (source, part) in cases {
        let input = json!({ "sql": "SELECT 1 AS one", "tables": { "t": source } });
        let refused = call(&PLUGIN, "query", input)
            .expect_err(&source.to_string())
            .to_string();
        assert!(refused.contains(part), "{source}: {refused}");
    }
}

#[test]
fn a_folder_of_files_is_one_table() {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("2026-01.csv", "\u{feff}id,amount\nA,1.50\nB,2\n"),
        (
            "2026-02.json",
            r#"[{ "amount": 3.25, "id": "C", "note": "late" }]"#,
        ),
        ("2026-03.jsonl", "{\"id\":\"D\",\"amount\":4}\n"),
        ("README.md", "not a table"),
    ];
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let tables = json!({ "t": { "path": folder.path() } });
    let sql = "SELECT _file, id, amount, note FROM t ORDER BY id";
    let answer = call(&PLUGIN, "query", json!({ "sql": sql, "tables": tables })).unwrap();
    assert_eq!(
        answer["rows"],
        json!([
            { "_file": "2026-01.csv", "id": "A", "amount": 1.5, "note": null },
            { "_file": "2026-01.csv", "id": "B", "amount": 2, "note": null },
            { "_file": "2026-02.json", "id": "C", "amount": 3.25, "note": "late" },
            { "_file": "2026-03.jsonl", "id": "D", "amount": 4, "note": null },
        ])
    );
    let file = |name: &str| folder.path().join(name);
    let some = json!({ "t": { "paths": [file("2026-03.jsonl"), file("2026-01.csv")] } });
    let sql = "SELECT _file, id FROM t";
    let answer = call(&PLUGIN, "query", json!({ "sql": sql, "tables": some })).unwrap();
    assert_eq!(
        answer["rows"],
        json!([
            { "_file": "2026-03.jsonl", "id": "D" },
            { "_file": "2026-01.csv", "id": "A" },
            { "_file": "2026-01.csv", "id": "B" },
        ])
    );
    let wrong = json!({ "t": { "paths": [file("2026-01.csv"), file("README.md")] } });
    let refused = call(&PLUGIN, "query", json!({ "sql": sql, "tables": wrong }));
    assert!(refused.unwrap_err().to_string().contains("README.md"));
}

#[test]
fn many_rows_join_by_hash_and_are_cut_on_request() {
    let rows: String = (0..2_000).map(|n| format!("{n},{}\n", n % 50)).collect();
    let tables = json!({
        "big": { "csv": format!("id,group_id\n{rows}") },
        "small": { "csv": (0..50).fold("group_id,name\n".to_owned(), |text, n| format!("{text}{n},g{n}\n")) },
    });
    let sql = "SELECT s.name, COUNT(*) AS n FROM big b JOIN small s ON b.group_id = s.group_id GROUP BY s.name";
    let answer = call(
        &PLUGIN,
        "query",
        json!({ "sql": sql, "tables": tables, "max_rows": 7 }),
    )
    .unwrap();
    assert_eq!(
        (answer["row_count"].as_u64(), &answer["cut"]),
        (Some(50), &json!(true))
    );
    assert_eq!(answer["rows"].as_array().unwrap().len(), 7);
    assert!(
        answer["rows"]
            .as_array()
            .unwrap()
            .iter()
            .all(|row| row["n"] == 40)
    );
}
