//! Numbers at the edges of their types, and what is not a number.

use expect_test::expect;

use super::table::check;

#[test]
fn boundary_numbers() {
    let cases = [
        ("u8", "0"),
        ("u8", "255"),
        ("u8", "256"),
        ("u8", "-1"),
        ("u8", "1.0"),
        ("u8", "1.5"),
        ("u8", "2e2"),
        ("u8", "3e2"),
        ("u8", "\"1\""),
        ("u8", "-0"),
        ("u8", "true"),
        ("u8", "null"),
        ("s8", "-128"),
        ("s8", "-129"),
        ("s8", "127"),
        ("s8", "128"),
        ("u16", "65535"),
        ("u16", "65536"),
        ("s16", "-32768"),
        ("s16", "-32769"),
        ("u32", "4294967295"),
        ("u32", "4294967296"),
        ("s32", "-2147483648"),
        ("s32", "-2147483649"),
        ("s32", "2147483647"),
        ("s32", "2147483648"),
        ("u64", "9007199254740991"),
        ("u64", "9007199254740992"),
        ("u64", "\"9007199254740992\""),
        ("u64", "\"18446744073709551615\""),
        ("u64", "\"18446744073709551616\""),
        ("u64", "\"7\""),
        ("u64", "\"07\""),
        ("u64", "\"+7\""),
        ("u64", "\"-0\""),
        ("u64", "\"\""),
        ("u64", "\"1e3\""),
        ("u64", "9007199254740991.0"),
        ("u64", "9007199254740993.0"),
        ("u64", "-1"),
        ("s64", "-9007199254740991"),
        ("s64", "-9007199254740992"),
        ("s64", "\"-9223372036854775808\""),
        ("s64", "\"-9223372036854775809\""),
        ("s64", "\"9223372036854775807\""),
        ("s64", "\"9223372036854775808\""),
        ("f64", "1"),
        ("f64", "0.1"),
        ("f64", "-0.0"),
        ("f64", "5e-324"),
        ("f64", "1e-400"),
        ("f64", "1.7976931348623157e308"),
        ("f64", "1e309"),
        ("f64", "\"NaN\""),
        ("f64", "\"Infinity\""),
        ("f64", "\"-Infinity\""),
        ("f64", "\"nan\""),
        ("f64", "\"inf\""),
        ("f64", "\"1.5\""),
        ("f64", "9007199254740993"),
        ("f64", "123456789012345678901234567890"),
        ("f32", "0.1"),
        ("f32", "3.4028235e38"),
        ("f32", "3.5e38"),
        ("f32", "1e-46"),
        ("f32", "16777217"),
        ("f32", "\"-Infinity\""),
        ("f32", "\"NaN\""),
    ];
    check(
        &cases,
        &expect![[r#"
        u8 <- 0
          = 0
        u8 <- 255
          = 255
        u8 <- 256
          ! the input: expected an integer from 0 to 255, found `256`
        u8 <- -1
          ! the input: expected an integer from 0 to 255, found `-1`
        u8 <- 1.0
          = 1
        u8 <- 1.5
          ! the input: expected an integer from 0 to 255, found `1.5`
        u8 <- 2e2
          = 200
        u8 <- 3e2
          ! the input: expected an integer from 0 to 255, found `3e2`
        u8 <- "1"
          ! the input: expected an integer from 0 to 255, found `"1"`
        u8 <- -0
          = 0
        u8 <- true
          ! the input: expected an integer from 0 to 255, found `true`
        u8 <- null
          ! the input: expected an integer from 0 to 255, found `null`
        s8 <- -128
          = -128
        s8 <- -129
          ! the input: expected an integer from -128 to 127, found `-129`
        s8 <- 127
          = 127
        s8 <- 128
          ! the input: expected an integer from -128 to 127, found `128`
        u16 <- 65535
          = 65535
        u16 <- 65536
          ! the input: expected an integer from 0 to 65535, found `65536`
        s16 <- -32768
          = -32768
        s16 <- -32769
          ! the input: expected an integer from -32768 to 32767, found `-32769`
        u32 <- 4294967295
          = 4294967295
        u32 <- 4294967296
          ! the input: expected an integer from 0 to 4294967295, found `4294967296`
        s32 <- -2147483648
          = -2147483648
        s32 <- -2147483649
          ! the input: expected an integer from -2147483648 to 2147483647, found `-2147483649`
        s32 <- 2147483647
          = 2147483647
        s32 <- 2147483648
          ! the input: expected an integer from -2147483648 to 2147483647, found `2147483648`
        u64 <- 9007199254740991
          = 9007199254740991
        u64 <- 9007199254740992
          ! the input: expected an integer from 0 to 18446744073709551615 (beyond ±9007199254740991 as a decimal string), found `9007199254740992`
        u64 <- "9007199254740992"
          = "9007199254740992"
        u64 <- "18446744073709551615"
          = "18446744073709551615"
        u64 <- "18446744073709551616"
          ! the input: expected an integer from 0 to 18446744073709551615 (beyond ±9007199254740991 as a decimal string), found `"18446744073709551616"`
        u64 <- "7"
          = 7
        u64 <- "07"
          ! the input: expected an integer from 0 to 18446744073709551615 (beyond ±9007199254740991 as a decimal string), found `"07"`
        u64 <- "+7"
          ! the input: expected an integer from 0 to 18446744073709551615 (beyond ±9007199254740991 as a decimal string), found `"+7"`
        u64 <- "-0"
          ! the input: expected an integer from 0 to 18446744073709551615 (beyond ±9007199254740991 as a decimal string), found `"-0"`
        u64 <- ""
          ! the input: expected an integer from 0 to 18446744073709551615 (beyond ±9007199254740991 as a decimal string), found `""`
        u64 <- "1e3"
          ! the input: expected an integer from 0 to 18446744073709551615 (beyond ±9007199254740991 as a decimal string), found `"1e3"`
        u64 <- 9007199254740991.0
          = 9007199254740991
        u64 <- 9007199254740993.0
          ! the input: expected an integer from 0 to 18446744073709551615 (beyond ±9007199254740991 as a decimal string), found `9007199254740993.0`
        u64 <- -1
          ! the input: expected an integer from 0 to 18446744073709551615 (beyond ±9007199254740991 as a decimal string), found `-1`
        s64 <- -9007199254740991
          = -9007199254740991
        s64 <- -9007199254740992
          ! the input: expected an integer from -9223372036854775808 to 9223372036854775807 (beyond ±9007199254740991 as a decimal string), found `-9007199254740992`
        s64 <- "-9223372036854775808"
          = "-9223372036854775808"
        s64 <- "-9223372036854775809"
          ! the input: expected an integer from -9223372036854775808 to 9223372036854775807 (beyond ±9007199254740991 as a decimal string), found `"-9223372036854775809"`
        s64 <- "9223372036854775807"
          = "9223372036854775807"
        s64 <- "9223372036854775808"
          ! the input: expected an integer from -9223372036854775808 to 9223372036854775807 (beyond ±9007199254740991 as a decimal string), found `"9223372036854775808"`
        f64 <- 1
          = 1.0
        f64 <- 0.1
          = 0.1
        f64 <- -0.0
          = -0.0
        f64 <- 5e-324
          = 5e-324
        f64 <- 1e-400
          = 0.0
        f64 <- 1.7976931348623157e308
          = 1.7976931348623157e+308
        f64 <- 1e309
          ! the input: expected a number of f64, or one of `"NaN"`, `"Infinity"`, `"-Infinity"`, found `1e309`
        f64 <- "NaN"
          = "NaN"
        f64 <- "Infinity"
          = "Infinity"
        f64 <- "-Infinity"
          = "-Infinity"
        f64 <- "nan"
          ! the input: expected a number of f64, or one of `"NaN"`, `"Infinity"`, `"-Infinity"`, found `"nan"`
        f64 <- "inf"
          ! the input: expected a number of f64, or one of `"NaN"`, `"Infinity"`, `"-Infinity"`, found `"inf"`
        f64 <- "1.5"
          ! the input: expected a number of f64, or one of `"NaN"`, `"Infinity"`, `"-Infinity"`, found `"1.5"`
        f64 <- 9007199254740993
          = 9007199254740992.0
        f64 <- 123456789012345678901234567890
          = 1.2345678901234568e+29
        f32 <- 0.1
          = 0.1
        f32 <- 3.4028235e38
          = 3.4028235e+38
        f32 <- 3.5e38
          ! the input: expected a number of f32, or one of `"NaN"`, `"Infinity"`, `"-Infinity"`, found `3.5e38`
        f32 <- 1e-46
          = 0.0
        f32 <- 16777217
          = 16777216.0
        f32 <- "-Infinity"
          = "-Infinity"
        f32 <- "NaN"
          = "NaN"
    "#]],
    );
}
