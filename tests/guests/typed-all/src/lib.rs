//! A component for no host in particular: its world names nothing of Airlock.
//! Every WIT type goes through it and comes back.

#![expect(
    unsafe_code,
    reason = "bindings are generated: canonical ABI exports are unsafe by nature"
)]
#![expect(missing_docs, reason = "generated bindings carry none")]

wit_bindgen::generate!({ path: "wit", world: "everything" });

use exports::samples::everything::{calculator, echo};

/// Doc comments, as `wit-parser` writes them into encoded packages: the linker
/// drops them, so this component carries them on its own.
#[unsafe(link_section = "package-docs")]
#[used]
static DOCS: [u8; DOCS_JSON.len() + 1] = docs();

const DOCS_JSON: &str = r#"{"worlds":{"everything":{"func_exports":{"greet":{"docs":"Greets on stdout, and says how long the greeting was."}}}},"interfaces":{"calculator":{"funcs":{"add":{"docs":"Adds two numbers."},"divide":{"docs":"Divides, or says why not."}}}}}"#;

const fn docs() -> [u8; DOCS_JSON.len() + 1] {
    let mut section = [1; DOCS_JSON.len() + 1];
    let mut at = 0;
    while at < DOCS_JSON.len() {
        section[at + 1] = DOCS_JSON.as_bytes()[at];
        at += 1;
    }
    section
}

struct Everything;

export!(Everything);

impl Guest for Everything {
    fn greet(name: String) -> u32 {
        let greeting = format!("Hello, {name}!");
        println!("{greeting}");
        greeting.chars().count() as u32
    }

    fn spin() {
        loop {
            std::hint::black_box(0);
        }
    }

    fn produce(count: u32) -> Vec<u8> {
        vec![7; count as usize]
    }
}

impl calculator::Guest for Everything {
    fn add(a: i32, b: i32) -> i64 {
        i64::from(a) + i64::from(b)
    }

    fn divide(a: i32, b: i32) -> Result<i32, String> {
        a.checked_div(b)
            .ok_or_else(|| format!("{a} can't be divided by {b}"))
    }
}

impl echo::Guest for Everything {
    fn bools(value: bool) -> bool {
        value
    }

    fn unsigned(a: u8, b: u16, c: u32, d: u64) -> (u8, u16, u32, u64) {
        (a, b, c, d)
    }

    fn signed(a: i8, b: i16, c: i32, d: i64) -> (i8, i16, i32, i64) {
        (a, b, c, d)
    }

    fn floats(a: f32, b: f64) -> (f32, f64) {
        (a, b)
    }

    fn chars(value: char) -> char {
        value
    }

    fn strings(value: String) -> String {
        value
    }

    fn bytes(value: Vec<u8>) -> Vec<u8> {
        value
    }

    fn lists(value: Vec<Vec<String>>) -> Vec<Vec<String>> {
        value
    }

    fn enums(value: echo::Color) -> echo::Color {
        value
    }

    fn flag_sets(value: echo::Rights) -> echo::Rights {
        value
    }

    fn records(value: echo::Point) -> echo::Point {
        value
    }

    fn variants(value: Vec<echo::Shape>) -> Vec<echo::Shape> {
        value
    }

    fn options(value: Option<Option<u8>>) -> Option<Option<u8>> {
        value
    }

    fn results(value: Result<u8, String>) -> (Result<u8, String>, Result<(), ()>) {
        let outer = value.as_ref().map(|_| ()).map_err(|_| ());
        (value, outer)
    }
}
