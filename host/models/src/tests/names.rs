//! Tools' names as providers allow them.

use super::{question, tool};
use crate::names::Names;

#[test]
fn each_name_has_one_spelling_and_comes_back() {
    let long = "x".repeat(100);
    let longer = "x".repeat(101);
    let cases: [(&[&str], &[&str]); 5] = [
        (&["read"], &["read"]),
        (
            &["files/read", "files_read", "files.read"],
            &["files_read_2", "files_read", "files_read_3"],
        ),
        (&["é/ü"], &["___"]),
        (&["a/b", "a_b_2", "a_b"], &["a_b_3", "a_b_2", "a_b"]),
        (
            &[&long, &longer],
            &[&long[..64], &format!("{}_2", &long[..62])],
        ),
    ];
    for (given, expected) in cases {
        let mut request = question("hi");
        request.tools = given.iter().map(|name| tool(name)).collect();
        let names = Names::of(&request);
        let spelled: Vec<&str> = given.iter().map(|name| names.spelled(name)).collect();
        assert_eq!(spelled, expected);
        for name in given {
            assert_eq!(names.meant(names.spelled(name)), *name);
            assert!(names.offers(name));
        }
        assert!(!names.offers("other"));
        assert_eq!(names.meant("other"), "other");
    }
}
