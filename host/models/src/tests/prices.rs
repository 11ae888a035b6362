//! What tokens cost.

use crate::answer::Usage;
use crate::config::{Price, Prices};

#[test]
fn prices_are_read_exactly_or_refused() {
    let good = [
        ("0", "0", 0),
        ("0.15", "0.15", 150_000),
        ("15", "15", 15_000_000),
        ("2.50", "2.5", 2_500_000),
        ("0.000001", "0.000001", 1),
        ("1000000", "1000000", 1_000_000_000_000),
    ];
    for (text, shown, micros) in good {
        let price: Price = text.parse().expect(text);
        assert_eq!(price.to_string(), shown);
        assert_eq!(format!("{price:?}"), shown);
        assert_eq!(price.micros(), micros);
        assert_eq!(price.to_string().parse(), Ok(price));
    }
    for text in [
        "",
        ".5",
        "1.",
        "-1",
        "1e3",
        "0.0000001",
        "1,5",
        "1000001",
        " 1",
        "99999999999999999999",
    ] {
        text.parse::<Price>().expect_err(text);
    }
}

#[test]
fn costs_are_rounded_up_and_never_wrap() {
    let price = |text: &str| text.parse::<Price>().expect("a price");
    let prices = |input: &str, output: &str, cached: Option<&str>| Prices {
        input: price(input),
        output: price(output),
        cached: cached.map(price),
    };
    let usage = |input_tokens, cached_tokens, output_tokens| Usage {
        input_tokens,
        cached_tokens,
        output_tokens,
        estimated: false,
    };
    // Two dollars a million are two micros each.
    let cases = [
        (prices("2", "10", None), usage(1_000, 0, 100), 3_000),
        (prices("2", "10", None), usage(1_000, 400, 100), 3_000),
        (
            prices("2", "10", Some("0.5")),
            usage(1_000, 400, 100),
            2_400,
        ),
        (prices("0.15", "0.6", None), usage(1, 0, 0), 1),
        (prices("0.15", "0.6", None), usage(10, 0, 10), 8),
        (prices("0", "0", None), usage(u64::MAX, 0, u64::MAX), 0),
        // More from the cache than there is at all counts as all of it.
        (prices("2", "10", Some("1")), usage(10, 50, 0), 10),
        (
            prices("1000000", "1000000", None),
            usage(u64::MAX, 0, u64::MAX),
            u64::MAX,
        ),
    ];
    for (prices, usage, expected) in cases {
        assert_eq!(prices.cost_micros(&usage), expected, "{prices:?} {usage:?}");
        let most = prices.most_micros(usage.input_tokens, usage.output_tokens);
        assert!(most >= expected, "{prices:?} {usage:?}");
    }
    // A cache may be dearer than none.
    assert_eq!(prices("1", "0", Some("3")).most_micros(10, 0), 30);
}
