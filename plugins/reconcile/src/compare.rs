//! What is asked of the tables, and what the report says: without any effect.

use serde_json::{Map, Value, json};

use crate::Escalated;

/// The columns of an invoice line, with the types they must have.
const LINE: [(&str, &str); 9] = [
    ("invoice", "text"),
    ("date", "text"),
    ("contract_id", "text"),
    ("supplier", "text"),
    ("item", "text"),
    ("quantity", "decimal"),
    ("unit_price", "decimal"),
    ("currency", "text"),
    ("total", "decimal"),
];

/// The columns of a contract that lines are compared with.
const CONTRACT: [(&str, &str); 5] = [
    ("contract_id", "text"),
    ("currency", "text"),
    ("unit_price", "decimal"),
    ("max_quantity", "decimal"),
    ("valid_to", "text"),
];

/// The contracts that lines name.
pub(crate) const NAMED: &str = "
    SELECT contract_id FROM invoices WHERE contract_id IS NOT NULL
    GROUP BY contract_id ORDER BY contract_id";

/// Lines that disagree with their contract.
pub(crate) const DISAGREE: &str = "
    SELECT i.invoice, i.date, i.supplier, i.contract_id, i.total, i.currency,
        CASE
            WHEN c.contract_id IS NULL THEN 'no such contract'
            WHEN i.currency <> c.currency THEN 'wrong currency'
            WHEN i.date > c.valid_to THEN 'contract expired'
            WHEN i.unit_price > c.unit_price THEN 'price above contract'
            WHEN i.quantity > c.max_quantity THEN 'quantity above contract'
            ELSE 'total is not quantity x price'
        END AS finding
    FROM invoices i LEFT JOIN contracts c ON i.contract_id = c.contract_id
    WHERE c.contract_id IS NULL OR i.currency <> c.currency OR i.date > c.valid_to
        OR i.unit_price > c.unit_price OR i.quantity > c.max_quantity
        OR i.total - i.quantity * i.unit_price > 0.01
        OR i.quantity * i.unit_price - i.total > 0.01
    ORDER BY i.invoice";

/// Invoices that are there more than once.
pub(crate) const TWICE: &str = "
    SELECT invoice, supplier, COUNT(*) AS times FROM invoices
    GROUP BY invoice, supplier HAVING COUNT(*) > 1 ORDER BY invoice";

fn types(columns: &[(&str, &str)]) -> Value {
    let types = columns.iter();
    let types = types.map(|(name, kind)| ((*name).to_owned(), Value::from(*kind)));
    Value::Object(types.collect::<Map<_, _>>())
}

/// The table of these files.
pub(crate) fn invoices(paths: &[String]) -> Value {
    json!({ "paths": paths, "types": types(&LINE) })
}

/// The table of these contracts.
pub(crate) fn contracts(contracts: &[Value]) -> Value {
    let types = types(&CONTRACT);
    match contracts {
        [] => {
            let header = CONTRACT.map(|(name, _)| name).join(",");
            json!({ "csv": header + "\n", "types": types })
        }
        contracts => json!({ "json": contracts, "types": types }),
    }
}

/// The address of a contract. An id comes from an invoice, which a stranger
/// wrote: one that would be more than a name in the address names no contract.
pub(crate) fn address(base: &str, id: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let named = id.bytes().all(plain) && id.bytes().any(|byte| byte != b'.');
    (named && id.len() <= 100).then(|| format!("{}/{id}", base.trim_end_matches('/')))
}

/// What was found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) disagree: usize,
    pub(crate) disagree_table: String,
    pub(crate) twice: usize,
    pub(crate) twice_table: String,
}

/// The report.
pub(crate) fn markdown(found: &Found, lines: usize, unread: &[Escalated]) -> String {
    let mut text = format!(
        "# Invoices against contracts\n\n{} of {lines} lines disagree with their contract.\n\n{}",
        found.disagree, found.disagree_table
    );
    text += &format!(
        "\n## Booked twice\n\n{} invoices are there more than once.\n\n{}",
        found.twice, found.twice_table
    );
    if !unread.is_empty() {
        text += "\n## Not read\n\nThese files are not in the figures above.\n\n";
    }
    for file in unread {
        text += &format!("- {}: {}\n", code(&file.path), code(&file.problem));
    }
    text
}

/// Text of a stranger, as Markdown that is that text.
fn code(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| match c {
            '`' => '\'',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect();
    format!("`{line}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_name_in_the_address_or_none() {
        let base = "https://a.test/v1/contracts/";
        let cases = [
            ("C-101", true),
            ("2026_7.b", true),
            ("", false),
            (".", false),
            ("..", false),
            ("../admin", false),
            ("a?b", false),
            ("a#b", false),
            ("a%2fb", false),
            ("a b", false),
            ("é", false),
        ];
        for (id, ok) in cases {
            let wanted = ok.then(|| format!("https://a.test/v1/contracts/{id}"));
            assert_eq!(address(base, id), wanted, "{id:?}");
        }
        assert_eq!(address(base, &"x".repeat(101)), None);
    }

    #[test]
    fn what_a_stranger_wrote_stays_text() {
        let unread = [Escalated {
            path: "/invoices/`x`\n# Title".to_owned(),
            problem: "CSV: <b>".to_owned(),
            decision: None,
            note: None,
        }];
        let text = markdown(&Found::default(), 0, &unread);
        assert!(
            text.ends_with("- `/invoices/'x' # Title`: `CSV: <b>`\n"),
            "{text}"
        );
        assert!(!markdown(&Found::default(), 0, &[]).contains("Not read"));
    }

    fn query(sql: &str, contracts: &[Value], max_rows: usize) -> Value {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../demo/invoices");
        let names = ["2026-03.csv", "2026-04.csv", "2026-08.json"];
        let paths = names.map(|name| format!("{folder}/{name}"));
        let tables =
            json!({ "invoices": invoices(&paths), "contracts": super::contracts(contracts) });
        let input = json!({ "sql": sql, "tables": tables, "max_rows": max_rows });
        airlock_sdk::testing::call(&airlock_plugin_table::PLUGIN, "query", input).expect("rows")
    }

    #[test]
    fn the_queries_find_what_is_wrong() {
        let contract = |price: f64, until: &str| {
            json!({ "contract_id": "C-110", "currency": "EUR", "unit_price": price,
                "max_quantity": 100, "valid_to": until })
        };
        let named = query(NAMED, &[], 10_000);
        assert!(
            named["rows"]
                .to_string()
                .contains(r#"{"contract_id":"C-110"}"#)
        );
        assert_eq!(
            query(TWICE, &[], 10)["columns"],
            json!(["invoice", "supplier", "times"])
        );
        let all = query("SELECT invoice FROM invoices", &[], 1)["row_count"].clone();
        let cases = [
            (vec![], "no such contract"),
            (vec![contract(1.0, "2026-12-31")], "price above contract"),
            (vec![contract(1e6, "2026-01-01")], "contract expired"),
        ];
        for (contracts, finding) in cases {
            let found = query(DISAGREE, &contracts, 10_000);
            let rows = found["rows"].as_array().expect("rows");
            let mut of_it = rows.iter().filter(|row| row["contract_id"] == "C-110");
            assert!(
                of_it.any(|row| row["finding"] == finding),
                "{finding}: {found}"
            );
            if contracts.is_empty() {
                assert_eq!(found["row_count"], all, "no contract, no agreement");
            }
        }
        let fitting = query(DISAGREE, &[contract(1e6, "2026-12-31")], 10_000);
        let rows = fitting["rows"].as_array().expect("rows").iter();
        let wrong = rows.filter(|row| row["contract_id"] == "C-110").count();
        assert_eq!(wrong, 0, "{fitting}");
    }

    #[test]
    fn no_contract_is_a_table_too() {
        assert_eq!(
            contracts(&[])["csv"],
            "contract_id,currency,unit_price,max_quantity,valid_to\n"
        );
        assert_eq!(
            contracts(&[json!({ "contract_id": "a" })])["json"][0]["contract_id"],
            "a"
        );
    }
}
