//! Property tests of URLs and rules; `cargo xtask fuzz` runs them for longer.

use proptest::prelude::*;

use crate::capability::http::url::{Target, UrlPattern};

/// Text near enough to a URL to get far.
fn near_urls() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("https://"),
        Just("http://"),
        Just("allowed.test"),
        Just("evil.test"),
        Just("."),
        Just("@"),
        Just(":"),
        Just("443"),
        Just("/"),
        Just("//"),
        Just("\\"),
        Just("?"),
        Just("#"),
        Just("%2e"),
        Just("%2f"),
        Just("%40"),
        Just("%00"),
        Just("%"),
        Just("%25"),
        Just(".."),
        Just("*"),
        Just("**"),
        Just("[::1]"),
        Just("127.0.0.1"),
        Just("0x7f.1"),
        Just("a"),
        Just("é"),
        Just("。"),
        Just("\t"),
        Just(";"),
        Just("v1"),
        Just("-"),
        Just("user:pw@"),
    ];
    let near = prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat());
    let begun = near.prop_map(|rest| format!("https://{rest}"));
    let whole = prop::sample::select(vec![
        "https://allowed.test/v1/contracts/7?since=2026-01-01",
        "https://a.allowed.test:8443/a/b/c",
        "http://127.0.0.1:8080/",
        "https://[2001:db8::1]:443/v1/",
        "https://*.allowed.test/v1/*",
        "https://allowed.test/v1/**",
    ]);
    let damaged = (whole, airlock_fuzz::text_damage()).prop_map(|(url, damage)| damage.to(url));
    prop_oneof![4 => begun, 4 => damaged, 1 => "\\PC*", 1 => any::<String>()]
}

proptest! {
    #![proptest_config(airlock_fuzz::cases(1_000))]

    #[test]
    fn taking_a_url_apart_again_changes_nothing(url in near_urls()) {
        if let Ok(target) = url.parse::<Target>() {
            let text = match &target.query {
                Some(query) => format!("{target}?{query}"),
                None => target.to_string(),
            };
            prop_assert_eq!(text.parse::<Target>(), Ok(target));
        }
    }

    #[test]
    fn rules_never_panic(rule in near_urls(), url in near_urls()) {
        if let (Ok(pattern), Ok(target)) = (rule.parse::<UrlPattern>(), url.parse::<Target>()) {
            let _ = pattern.matches(&target);
        }
    }

    #[test]
    fn a_host_is_not_covered_by_embedding_a_granted_one(url in near_urls()) {
        let exact: UrlPattern = "https://allowed.test/**".parse().unwrap();
        let wild: UrlPattern = "https://*.allowed.test/**".parse().unwrap();
        if let Ok(target) = url.parse::<Target>() {
            // The standard's own idea of the host that would be asked.
            let host = url::Url::parse(&url).unwrap().host_str().unwrap().to_owned();
            prop_assert!(!exact.matches(&target) || host == "allowed.test", "{}", url);
            let one_label = host.strip_suffix(".allowed.test").is_some_and(|l| !l.contains('.'));
            prop_assert!(!wild.matches(&target) || one_label, "{}", url);
        }
    }

    #[test]
    fn nothing_below_a_path_leads_out_of_it(tail in "[a./%2eEfFcC5;\\\\]{0,24}") {
        let pattern: UrlPattern = "https://a.test/v1/**".parse().unwrap();
        let target = format!("https://a.test/v1/{tail}").parse::<Target>();
        let Some(target) = target.ok().filter(|target| pattern.matches(target)) else {
            return Ok(());
        };
        let path = target.to_string().trim_start_matches("https://a.test").to_owned();
        let mut decoded = path.clone();
        for _ in 0..3 {
            decoded = decode(&decoded);
        }
        let decoded = decoded.replace('\\', "/");
        let out = decoded.split('/').any(|s| matches!(s.split(';').next(), Some(".." | ".")));
        prop_assert!(!out && path.starts_with("/v1/"), "{} {}", path, decoded);
    }
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => (decoded.push(char::from(byte)), at += 3).1,
            None => (decoded.push(char::from(bytes[at])), at += 1).1,
        }
    }
    decoded
}
