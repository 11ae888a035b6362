//! Broken files, and what is said of each: all of it at once.

use super::*;

mod meaning;
mod shape;

fn broken(file: &str, expect: &Expect) {
    expect.assert_eq(&said(file));
}
