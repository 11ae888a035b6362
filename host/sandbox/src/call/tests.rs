//! Calls through the whole sandbox.

use crate::testing;

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_answers() {
    let report = testing::call(testing::guest("", testing::ECHO), "", "echo", r#"{"a":1}"#).await;
    assert_eq!(report.result.as_deref(), Ok(r#"{"a":1}"#));
    assert!(
        report.usage.peak_memory_bytes >= 65_536,
        "{:?}",
        report.usage
    );
    assert!(report.usage.cpu_us > 0, "{:?}", report.usage);
}
