//! Puts an image into the component that serves it.
//!
//! The component has an empty area in its memory, which takes no bytes of its file,
//! and says in its data where that is, behind [`MARKER`]. A segment of data for the
//! area is added to its module; nothing else is changed, so that the same image
//! makes the same component.

use std::fmt;

/// Stands in the component's data before the area's address, 4 bytes, and its size,
/// 4 bytes.
pub const MARKER: &[u8; 24] = b"airlock-openapi:area:01:";

const PREAMBLE_BYTES: usize = 8;
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];
const MODULE: [u8; 4] = [1, 0, 0, 0];
const MODULE_SECTION: u8 = 1;
const DATA_SECTION: u8 = 11;
const DATA_COUNT_SECTION: u8 = 12;

/// Why an image does not go into a component.
#[derive(Debug, PartialEq, Eq)]
pub enum PackError {
    /// It is no component that serves images.
    Foreign(&'static str),
    /// The image is larger than the area.
    TooLarge {
        /// Bytes of the image.
        found: usize,
        /// Bytes of the area.
        max: usize,
    },
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(why) => write!(f, "this component serves no OpenAPI document: {why}"),
            Self::TooLarge { found, max } => write!(
                f,
                "the tools take {found} bytes, and a component has {max} for them: take fewer \
                 operations, by --include"
            ),
        }
    }
}

impl std::error::Error for PackError {}

use PackError::Foreign;

/// The component with the image.
///
/// # Errors
/// It is another component, or the image does not fit.
pub fn pack(component: &[u8], image: &[u8]) -> Result<Vec<u8>, PackError> {
    let (address, size) = area(component)?;
    if image.len() > size {
        return Err(PackError::TooLarge {
            found: image.len(),
            max: size,
        });
    }
    let segment = segment(address, image);
    let mut packed = Vec::with_capacity(component.len() + segment.len() + 16);
    let mut done = 0;
    rewrite(component, COMPONENT, &mut packed, |id, body| {
        let holds = id == MODULE_SECTION && find(body, MARKER).is_some();
        if !holds {
            return Ok(None);
        }
        done += 1;
        module(body, &segment).map(Some)
    })?;
    match done {
        1 => Ok(packed),
        _ => Err(Foreign("its area is not in one module")),
    }
}

/// Where the area is, and its size.
fn area(component: &[u8]) -> Result<(u32, usize), PackError> {
    let at = find(component, MARKER).ok_or(Foreign("it has no area"))?;
    let behind = &component[at + MARKER.len()..];
    if find(behind, MARKER).is_some() {
        return Err(Foreign("it has several areas"));
    }
    let word = |at: usize| {
        let bytes = behind.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let (address, size) = word(0)
        .zip(word(4))
        .filter(|(address, _)| *address != 0)
        .ok_or(Foreign("its area is nowhere"))?;
    Ok((address, usize::try_from(size).unwrap_or(0)))
}

/// A module with one more segment.
fn module(module: &[u8], segment: &[u8]) -> Result<Vec<u8>, PackError> {
    let mut made = Vec::with_capacity(module.len() + segment.len() + 16);
    let mut done = false;
    rewrite(module, MODULE, &mut made, |id, body| {
        if !matches!(id, DATA_SECTION | DATA_COUNT_SECTION) {
            return Ok(None);
        }
        let (count, rest) = number(body)?;
        let mut changed = Vec::with_capacity(body.len() + segment.len() + 5);
        put(&mut changed, count + 1);
        changed.extend_from_slice(rest);
        if id == DATA_SECTION {
            changed.extend_from_slice(segment);
            done = true;
        }
        Ok(Some(changed))
    })?;
    match done {
        true => Ok(made),
        false => Err(Foreign("its module has no data")),
    }
}

/// An active segment of memory 0.
fn segment(address: u32, image: &[u8]) -> Vec<u8> {
    let mut segment = vec![0, 0x41];
    put_signed(&mut segment, i64::from(address.cast_signed()));
    segment.push(0x0b);
    put(&mut segment, image.len() as u64);
    segment.extend_from_slice(image);
    segment
}

/// Copies sections; `change` gives another body where it has one.
fn rewrite(
    bytes: &[u8],
    version: [u8; 4],
    made: &mut Vec<u8>,
    mut change: impl FnMut(u8, &[u8]) -> Result<Option<Vec<u8>>, PackError>,
) -> Result<(), PackError> {
    let head = bytes
        .get(..PREAMBLE_BYTES)
        .filter(|head| head.starts_with(b"\0asm") && head[4..] == version)
        .ok_or(Foreign("it is of another format"))?;
    made.extend_from_slice(head);
    let mut rest = &bytes[PREAMBLE_BYTES..];
    while let Some((id, after)) = rest.split_first() {
        let (len, after) = number(after)?;
        let len = usize::try_from(len).map_err(|_| Foreign("a section is too long"))?;
        let body = after
            .get(..len)
            .ok_or(Foreign("a section ends too early"))?;
        made.push(*id);
        match change(*id, body)? {
            Some(changed) => {
                put(made, changed.len() as u64);
                made.extend_from_slice(&changed);
            }
            None => {
                put(made, len as u64);
                made.extend_from_slice(body);
            }
        }
        rest = &after[len..];
    }
    Ok(())
}

/// A number without a sign (LEB128), and what is behind it.
fn number(bytes: &[u8]) -> Result<(u64, &[u8]), PackError> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[at + 1..]));
        }
    }
    Err(Foreign("a number ends too early"))
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        match value {
            0 => return bytes.push(low),
            _ => bytes.push(low | 0x80),
        }
    }
}

fn put_signed(bytes: &mut Vec<u8>, mut value: i64) {
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        let sign = low & 0x40 != 0;
        if (value == 0 && !sign) || (value == -1 && sign) {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(id: u8, body: &[u8]) -> Vec<u8> {
        let mut made = vec![id];
        put(&mut made, body.len() as u64);
        made.extend_from_slice(body);
        made
    }

    fn wrapped(version: [u8; 4], sections: &[Vec<u8>]) -> Vec<u8> {
        [&b"\0asm"[..], &version, &sections.concat()].concat()
    }

    /// A component with one module, the data of which names an area.
    fn component(area: &[u8]) -> Vec<u8> {
        let data = [&[1, 0, 0x41, 8, 0x0b][..], &[area.len() as u8], area].concat();
        let module = wrapped(MODULE, &[section(12, &[1]), section(11, &data)]);
        wrapped(COMPONENT, &[section(1, &module), section(0, b"\x01xend")])
    }

    #[test]
    fn a_segment_is_added_and_nothing_else_changes() {
        let area = [&MARKER[..], &[0, 0, 2, 0], &[0, 1, 0, 0]].concat();
        let packed = pack(&component(&area), b"image").expect("it fits");
        let data = [
            &[2, 0, 0x41, 8, 0x0b, area.len() as u8][..],
            &area,
            // 131072 with its sign.
            &[0, 0x41, 0x80, 0x80, 0x08, 0x0b, 5],
            b"image",
        ];
        let module = wrapped(MODULE, &[section(12, &[2]), section(11, &data.concat())]);
        let expected = wrapped(COMPONENT, &[section(1, &module), section(0, b"\x01xend")]);
        assert_eq!(packed, expected);
    }

    #[test]
    fn what_serves_no_document_is_refused() {
        let good = [&MARKER[..], &[0, 0, 2, 0], &[0, 1, 0, 0]].concat();
        let whole = component(&good);
        let nowhere = component(&[&MARKER[..], &[0; 8]].concat());
        let cut = component(&MARKER[..]);
        let cases: [(&[u8], &str); 6] = [
            (b"", "no area"),
            (b"\0asm\x0d\0\x01\0", "no area"),
            (&nowhere, "nowhere"),
            (&[&whole[..], MARKER].concat(), "several"),
            (&whole[..whole.len() - 1], "too early"),
            (&[&b"x"[..], &whole].concat(), "another format"),
        ];
        for (bytes, says) in cases {
            let error = pack(bytes, b"x").expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(pack(&cut, b"x").is_err());
        let large = PackError::TooLarge {
            found: 257,
            max: 256,
        };
        assert_eq!(pack(&whole, &[0; 257]), Err(large));
    }
}
