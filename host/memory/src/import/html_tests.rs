//! What is taken from pages.

use super::chunks_of;
use super::tests::chunks_in;

fn html(text: &str) -> String {
    let chunks = chunks_in("a.html", text).into_iter();
    chunks.map(|chunk| chunk.text).collect::<Vec<_>>().join("¶")
}

#[test]
fn html_is_what_a_reader_sees() {
    let text = "<!doctype html><title>Hidden</title><style>p { x: y }</style>\n<script>\n\
                var x = '<p>hidden</p>';</script><h1>Top &amp; co</h1><p>One<b>two</b> three\n\
                <p>four<br>five<ul><li>six</li><li>seven</ul><template><p>hidden</template>\n\
                <h2>Next</h2><table><tr><td>a<td>b<tr><td>c</table><textarea>hidden</textarea>\n\
                <svg><text>hidden</text></svg><p>last &lt;tag&gt; &copy; &#x1F980;<!-- hidden -->";
    let found = chunks_in("a.html", text);
    let texts: Vec<&str> = found.iter().map(|chunk| chunk.text.as_str()).collect();
    let expected = [
        "Top & co\n\nOnetwo three\n\nfour\nfive\n\nsix\nseven",
        "Next\n\na b\nc\n\nlast <tag> © 🦀",
    ];
    assert_eq!(texts, expected);
    assert_eq!(found[0].source.headings, ["Top & co"]);
    assert_eq!(found[1].source.headings, ["Top & co", "Next"]);
    assert_eq!(found[1].source.lines.expect("lines").0, 5);
    let nested = format!("{}deep{}", "<div>".repeat(100_000), "</div>".repeat(1000));
    assert_eq!(chunks_in("a.htm", &nested)[0].text, "deep");
    let hostile = [
        "<",
        "<!--",
        "<script>",
        "<p",
        "&#xffffffff;",
        "</p></div>",
        "<title>",
        "<a b='",
    ];
    for text in hostile {
        let _ = chunks_of("a.html", text.as_bytes(), None).expect("it is read");
    }
}

#[test]
fn words_of_different_elements_of_a_page_are_different_words() {
    let blocks = [
        "address",
        "article",
        "aside",
        "blockquote",
        "button",
        "caption",
        "center",
        "dd",
        "details",
        "dialog",
        "dir",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hgroup",
        "label",
        "legend",
        "li",
        "main",
        "menu",
        "nav",
        "ol",
        "p",
        "pre",
        "search",
        "section",
        "summary",
        "table",
        "td",
        "th",
        "tr",
        "ul",
    ];
    for name in blocks {
        let text = html(&format!("one<{name}>two</{name}>three"));
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words, ["one", "two", "three"], "{name}");
    }
    assert_eq!(
        html("<details><summary>A</summary>B</details><fieldset><legend>C</legend>D</fieldset>"),
        "A\nB\n\nC\nD"
    );
    assert_eq!(html("w<b>or</b>d<span>s</span>"), "words");
}

#[test]
fn preformatted_text_keeps_its_lines() {
    let text = "<p>a  b\nc</p><pre>\nfn main() {\n    <b>one</b>();\n\n\ttwo();\r\n}\n</pre>after  it\nall";
    assert_eq!(
        html(text),
        "a b c\n\nfn main() {\n    one();\n\n\ttwo();\n}\n\nafter it all"
    );
    let found = chunks_in(
        "a.html",
        &format!("<pre>\n{}</pre>", "a line of code();\n".repeat(300)),
    );
    assert!(found.len() > 1);
    assert_eq!(found[1].text.lines().next(), Some("a line of code();"));
    let second = found[1].source.lines.expect("lines");
    let lines = found[1].text.lines().count() as u64;
    assert!((50..150).contains(&second.0), "{second:?}");
    assert_eq!(second.1 - second.0 + 1, lines);
}

/// A place for instructions that nobody sees: they are no text of the page.
#[test]
fn what_an_element_hides_is_not_imported() {
    let hides = [
        "hidden",
        "hidden=until-found",
        "HIDDEN=''",
        "aria-hidden=true",
        "aria-hidden=' TRUE '",
        "style='display:none'",
        "style='color: red; Display : NONE !important; margin: 0'",
        "style='/* x */display:/* y */none'",
        "style='visibility:hidden'",
        "style='visibility: collapse;'",
    ];
    for attribute in hides {
        for name in ["div", "p", "span", "li", "td", "section", "a", "h2", "pre"] {
            let page = format!(
                "<h1>Top</h1><p>before</p><{name} {attribute}>evil <b>evil</b></{name}><p>after</p>"
            );
            let text = html(&page);
            assert!(!text.contains("evil"), "{page}: {text}");
            assert!(text.contains("before\n\nafter"), "{page}: {text}");
        }
    }
    for shown in [
        "aria-hidden=false",
        "style='display:block'",
        "style='visibility:visible; x:display:none'",
        "data-hidden",
        "class=hidden",
    ] {
        assert_eq!(html(&format!("<p {shown}>seen</p>")), "seen", "{shown}");
    }
}

/// Pages, and what is shown of them: elements end where browsers end them.
const ENDS: &[(&str, &str)] = &[
    ("<p hidden>evil<p>seen", "seen"),
    ("<p hidden>evil<div>seen</div>", "seen"),
    ("<ul><li hidden>evil<li>seen</ul>", "seen"),
    (
        "<ul><li hidden>evil<ul><li>evil</ul>evil<li>seen</ul>",
        "seen",
    ),
    (
        "<ul><li>a<section hidden><li>evil</section>b</ul>",
        "a\n\nb",
    ),
    ("<dl><dt hidden>evil<dd>seen</dl>", "seen"),
    (
        "<table><tr><td hidden>evil<td>seen<tr><td>too</table>",
        "seen\ntoo",
    ),
    (
        "<table><tr hidden><td>evil<td>evil<tr><td>seen</table>",
        "seen",
    ),
    (
        "<div hidden>evil</span>evil</p>evil</section>evil</div>seen",
        "seen",
    ),
    (
        "<div hidden><div>evil</div>evil<br>evil<img>evil</div>seen",
        "seen",
    ),
    (
        "<div hidden><script></script></title></textarea>evil</div>seen",
        "seen",
    ),
    ("<div hidden/>evil</div>seen", "seen"),
    ("<p><span hidden>evil</p><p>seen", "seen"),
    ("<button hidden><p>evil</button>seen", "seen"),
    (
        "<div hidden><table><tr><td></div>evil</table>evil</div>seen",
        "seen",
    ),
    (
        "<span hidden><div>evil</span>evil</div>evil</span>seen",
        "seen",
    ),
    ("<h2 hidden>evil</h3>seen", "seen"),
    ("<svg><path/><g><style></style>x</g></svg>seen", "seen"),
    ("<template><p>evil</template>seen", "seen"),
    ("<datalist><option>evil</datalist>seen", "seen"),
    ("<body hidden>seen", "seen"),
    ("<div hidden>evil", ""),
];

#[test]
fn what_is_hidden_ends_where_browsers_end_it() {
    for (page, expect) in ENDS {
        assert_eq!(html(page), *expect, "{page}");
    }
    let xml = chunks_in("a.xhtml", "<p hidden=''/>seen");
    assert_eq!(xml[0].text, "seen");
    // A heading that is hidden heads nothing.
    let found = chunks_in("a.html", "<h1>One</h1><h2 hidden>evil</h2><p>text");
    assert_eq!(found[0].source.headings, ["One"]);
    // Depth and tags without an end take no more than their time.
    let deep = format!(
        "{}{}seen",
        "<div hidden>".repeat(200_000),
        "</span>".repeat(200_000)
    );
    assert_eq!(html(&deep), "");
    let walls = format!(
        "<p><button>{}{}",
        "<span>".repeat(200_000),
        "<hr></b>".repeat(200_000)
    );
    assert_eq!(html(&walls), "");
}
