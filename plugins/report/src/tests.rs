use airlock_sdk::testing::call;
use serde_json::{Value, json};

use super::PLUGIN;

fn fragment(markdown: &str) -> (String, u64) {
    let rendered = call(
        &PLUGIN,
        "render",
        json!({ "markdown": markdown, "fragment": true }),
    )
    .unwrap();
    (
        rendered["html"].as_str().unwrap().to_owned(),
        rendered["links_removed"].as_u64().unwrap(),
    )
}

fn page(input: Value) -> String {
    call(&PLUGIN, "render", input).unwrap()["html"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn markdown_becomes_html() {
    let cases = [
        (
            "# Hi\n\nsome *text*",
            "<h1>Hi</h1>\n<p>some <em>text</em></p>\n",
        ),
        (
            "~~old~~ `a < b`",
            "<p><del>old</del> <code>a &lt; b</code></p>\n",
        ),
        (
            "- [x] done",
            "<ul>\n<li><input disabled=\"\" type=\"checkbox\" checked=\"\"/>\ndone</li>\n</ul>\n",
        ),
        (
            "[a](https://a.test/?x=1&y=\"2\")",
            "<p><a href=\"https://a.test/?x=1&amp;y=%222%22\">a</a></p>\n",
        ),
        (
            "[a](#part) [b](sub/page.html) [c](mailto:a@b.test)",
            "<p><a href=\"#part\">a</a> <a href=\"sub/page.html\">b</a> <a href=\"mailto:a@b.test\">c</a></p>\n",
        ),
        ("", ""),
    ];
    for (markdown, expected) in cases {
        assert_eq!(fragment(markdown), (expected.to_owned(), 0), "{markdown}");
    }
    let (table, _) = fragment("| a | n |\n|---|---:|\n| x \\| y | 1.50 |\n");
    assert!(
        table.contains("<td>x | y</td><td style=\"text-align: right\">1.50</td>"),
        "{table}"
    );
}

#[test]
fn html_is_shown_and_not_run() {
    let attacks = [
        "<script>alert(1)</script>",
        "text <img src=x onerror=alert(1)> text",
        "<div>\n<iframe src=\"https://evil.test\"></iframe>\n</div>",
        "<!-- --><svg/onload=alert(1)>",
        "| a |\n|---|\n| <b onclick=alert(1)>x</b> |",
        "<a href=\"javascript:alert(1)\">x</a>",
        "[^1]\n\n[^1]: <script>alert(1)</script>",
        "<?php x ?> <![CDATA[<script>]]> <!doctype x>",
    ];
    for attack in attacks {
        let (html, _) = fragment(attack);
        for bad in [
            "<script",
            "<img",
            "<iframe",
            "<svg",
            "<b ",
            "<div>",
            "<a href=\"java",
            "<!--",
            "<?",
            "<!",
        ] {
            assert!(!html.contains(bad), "{attack}: {html}");
        }
        assert!(html.contains("&lt;"), "{attack}: {html}");
    }
}

#[test]
fn links_that_are_not_safe_are_left_out() {
    let attacks = [
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x](<java\tscript:alert(1)>)",
        "[x](vbscript:x)",
        "[x](data:text/html,<script>)",
        "[x](file:///etc/passwd)",
        "[x](//evil.test)",
        "[x](\\\\evil.test)",
        "<javascript:alert(1)>",
        "![x](http://track.test/p.png)",
        "![x](javascript:alert(1))",
        "![x](data:image/svg+xml,x)",
        "![x](/p.png)",
        "[x][r]\n\n[r]: javascript:alert(1)",
    ];
    for attack in attacks {
        let (html, removed) = fragment(attack);
        assert!(
            removed == 1 && !html.contains("href") && !html.contains("src="),
            "{attack}: {html}"
        );
    }
    let (html, removed) = fragment("[a ![b](https://a.test/b.png)](javascript:x) [c](x)");
    assert!(
        removed == 1
            && html.contains("<img src=\"https://a.test/b.png\"")
            && html.contains("href=\"x\""),
        "{html}"
    );
}

#[test]
fn a_page_is_complete_and_closed() {
    let html = page(json!({ "markdown": "# First `code`\n\n## Second" }));
    assert!(
        html.starts_with("<!doctype html>") && html.ends_with("</html>\n"),
        "{html}"
    );
    assert!(
        html.contains("<title>First code</title>") && html.contains("default-src 'none'"),
        "{html}"
    );
    let cases = [
        (json!({ "markdown": "text" }), "<title>Report</title>"),
        (
            json!({ "markdown": "# A", "title": "</title><script>" }),
            "<title>&lt;/title&gt;&lt;script&gt;</title>",
        ),
        (
            json!({ "markdown": "# Zürich & <b>", "title": null }),
            "<title>Zürich &amp;</title>",
        ),
    ];
    for (input, part) in cases {
        let html = page(input.clone());
        assert!(
            html.contains(part) && html.matches("<script").count() == 0,
            "{input}: {html}"
        );
    }
}

#[test]
fn size_is_bounded() {
    let large = call(
        &PLUGIN,
        "render",
        json!({ "markdown": "a".repeat(512 * 1024 + 1) }),
    );
    assert_eq!(large.map_err(|error| error.code()), Err("invalid-input"));
    let nested = fragment(&"> ".repeat(10_000));
    assert!(nested.0.len() < 1_000_000);
}

proptest::proptest! {
    #![proptest_config(airlock_fuzz::cases(256))]

    #[test]
    fn fuzz_no_markdown_brings_its_own_html(
        parts in proptest::collection::vec("[a-z<>\"'=/\\\\ ]{0,8}|<script>|<img src=x onerror=1>|\\]\\(javascript:x\\)|!?\\[|\\(data:a\\)|\\||---|\n|`|\\*|&#x3a;|<!--|\\[\\^1\\]:?|# |> |- |https:", 0..24),
    ) {
        let markdown = parts.concat();
        let (html, _) = fragment(&markdown);
        let lower = html.to_ascii_lowercase();
        // Tags that the renderer itself writes, and no attribute but its own.
        for tag in lower.split('<').skip(1) {
            let name: String = tag.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '/').collect();
            let known = ["p", "h1", "h2", "h3", "h4", "h5", "h6", "em", "strong", "code", "pre", "a", "img", "ul", "ol", "li", "blockquote", "hr/", "br/", "hr", "br",
                "table", "thead", "tbody", "tr", "th", "td", "sup", "div", "del", "input"];
            let bare = name.trim_start_matches('/');
            proptest::prop_assert!(known.contains(&bare), "{:?}: {}", markdown, html);
            let inside = tag.split('>').next().unwrap_or_default();
            for bad in ["javascript:", "data:", "onerror", "onclick"] {
                let attribute = inside.contains(&format!("=\"{bad}")) || inside.contains(&format!(" {bad}="));
                proptest::prop_assert!(!attribute, "{:?}: {}", markdown, html);
            }
        }
    }
}
