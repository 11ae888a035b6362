//! Passes over what begins no match, so that most of an answer is looked at, and
//! not taken apart.

use zeroize::Zeroizing;

use super::automaton::Automaton;
use super::encodings::Fold;
use super::redact::Table;
use super::syntax::Syntax;

/// What a byte may be to a way of reading that is in the middle of nothing.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    /// It begins nothing.
    #[default]
    Nothing,
    /// It may begin a word, and stands for itself.
    Word,
    /// It has to be read.
    Read,
}

impl zeroize::DefaultIsZeroes for Kind {}

/// What one way of reading passes over.
pub(super) struct Skim {
    kinds: Zeroizing<[Kind; 256]>,
    folded: bool,
}

impl Skim {
    pub(super) fn new(syntaxes: &[Syntax], table: Table, automaton: &Automaton) -> Self {
        let folded = table == Table::Folded;
        let kind = |byte: u8| {
            let word = automaton.begins(if folded { Fold::plain(byte) } else { byte });
            let quote = folded && matches!(byte, b'"' | b'\'');
            if syntaxes == [Syntax::Digits] {
                // What may stand between digits begins nothing before the first.
                let digit = automaton.begins(byte.to_ascii_lowercase());
                return if digit { Kind::Read } else { Kind::Nothing };
            }
            match quote || syntaxes.iter().any(|syntax| syntax.begins(byte)) {
                true => Kind::Read,
                false if word => Kind::Word,
                false => Kind::Nothing,
            }
        };
        let mut kinds = Zeroizing::new([Kind::Nothing; 256]);
        for (byte, place) in (0..=u8::MAX).zip(kinds.iter_mut()) {
            *place = kind(byte);
        }
        Self { kinds, folded }
    }

    /// How many bytes at the beginning of `text` begin no match, whatever follows
    /// it.
    pub(super) fn pass(&self, text: &[u8], automaton: &Automaton) -> usize {
        let fold = |byte: u8| if self.folded { Fold::plain(byte) } else { byte };
        let kind = |byte: u8| self.kinds[usize::from(byte)];
        let mut at = 0;
        while let Some(byte) = text.get(at) {
            match (kind(*byte), text.get(at + 1)) {
                (Kind::Nothing, _) => {}
                (Kind::Word, Some(next))
                    if kind(*next) != Kind::Read
                        && !automaton.begins_with(fold(*byte), fold(*next)) => {}
                _ => break,
            }
            at += 1;
        }
        at
    }
}
