use airlock_sdk::dynamic::Dynamic;

use super::*;

#[test]
fn by_itself_it_has_no_tools() {
    assert!(OpenApi::tools().is_empty() && OpenApi::wants().is_empty());
    assert_eq!(Area.read(0, 16), [0; 16]);
    assert!(Area.read(IMAGE_BYTES_MAX, 1).is_empty());
    assert_eq!(Area.read(IMAGE_BYTES_MAX - 3, 8), [0; 3]);
}
