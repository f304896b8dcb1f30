//! Alterations of a file: a pure function of the seed and the mutant's number.

use crate::Kind;

/// Pseudo-random numbers (SplitMix64).
pub struct Random(u64);

impl Random {
    /// Creates the generator of one mutant.
    pub fn new(seed: u64, number: u64) -> Self {
        let mut random = Self(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `limit`, which is at least 1.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// Maximum number of alterations of one mutant.
const MOST: usize = 6;

/// Sizes that overflow, fill memory or are off by one, as 8 bytes.
const SIZES: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    1 << 40,
    1 << 62,
    i64::MAX as u64,
    u64::MAX,
];

/// Replacements for a number, a string or a word of JSON, TOML and templates.
const WORDS: [&str; 34] = [
    "0",
    "-0",
    "-1",
    "1",
    "2",
    "255",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551616",
    "1000000000000",
    "1e308",
    "1e400",
    "-1e308",
    "1e-320",
    "0.1",
    "NaN",
    "Infinity",
    "null",
    "true",
    "false",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"../../x\"",
    "\"/etc/passwd\"",
    "[]",
    "{}",
    "[[[[[[[[]]]]]]]]",
    "\"\u{1b}]0;x\u{7}\"",
    "\"\u{202e}\"",
    "{\"a\":{\"a\":{\"a\":{}}}}",
];

/// Alters the bytes of a file. Half of the mutants have a single alteration, so that readers get far into the file.
pub fn mutate(bytes: &[u8], kind: Kind, random: &mut Random) -> Vec<u8> {
    let alterations = match random.below(2) {
        0 => 1,
        _ => 1 + random.below(MOST),
    };
    if kind == Kind::Headed && random.below(2) == 0 {
        return mutate_header(bytes, alterations, random);
    }
    let mut mutant = bytes.to_vec();
    for _ in 0..alterations {
        alter_as(&mut mutant, kind == Kind::Text, random);
    }
    mutant
}

/// Alters the JSON header of a file. In most mutants, the stated header length is correct.
fn mutate_header(bytes: &[u8], alterations: usize, random: &mut Random) -> Vec<u8> {
    let length = bytes
        .first_chunk()
        .map_or(0, |length| u64::from_le_bytes(*length));
    let rest = bytes.get(8..).unwrap_or_default();
    let (header, data) = rest.split_at((length as usize).min(rest.len()));
    let mut header = header.to_vec();
    for _ in 0..alterations {
        alter_as(&mut header, true, random);
    }
    let told = match random.below(8) {
        0 => length,
        _ => header.len() as u64,
    };
    [&told.to_le_bytes(), &header[..], data].concat()
}

fn alter_as(bytes: &mut Vec<u8>, is_text: bool, random: &mut Random) {
    if is_text && random.below(4) > 0 {
        replace_word(bytes, random);
    } else {
        alter(bytes, random);
    }
}

/// Returns a position; half of them are near the beginning, where headers are.
fn place(length: usize, random: &mut Random) -> usize {
    match random.below(2) {
        0 => random.below(length.min(512)),
        _ => random.below(length),
    }
}

fn alter(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(random.next() as u8);
        return;
    }
    let at = place(bytes.len(), random);
    let span = 1 + random.below(64).min(bytes.len() - at - 1);
    match random.below(10) {
        0 | 1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = random.next() as u8,
        3 => bytes[at] = [0, 0xff, 0x7f, 0x80, b'"', b'\n', b'{', b'}'][random.below(8)],
        4 | 5 => {
            let size = SIZES[random.below(SIZES.len())].to_le_bytes();
            let width = [1, 2, 4, 8][random.below(4)].min(bytes.len() - at);
            bytes[at..at + width].copy_from_slice(&size[..width]);
        }
        6 => drop(bytes.drain(at..at + span)),
        7 => {
            let copied = bytes[at..at + span].to_vec();
            let to = place(bytes.len(), random);
            drop(bytes.splice(to..to, copied));
        }
        8 => bytes.truncate(at),
        _ => {
            let repeats = 1 + random.below(300);
            let sign = bytes[at];
            drop(bytes.splice(at..at, std::iter::repeat_n(sign, repeats)));
        }
    }
}

/// Replaces a number, a string or a name by another word.
fn replace_word(bytes: &mut Vec<u8>, random: &mut Random) {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-+".contains(&byte);
    if bytes.is_empty() {
        return;
    }
    let mut begin = place(bytes.len(), random);
    while begin < bytes.len() && !is_word(bytes[begin]) {
        begin += 1;
    }
    while begin > 0 && is_word(bytes[begin - 1]) {
        begin -= 1;
    }
    let mut end = begin;
    while end < bytes.len() && is_word(bytes[end]) {
        end += 1;
    }
    let quoted = begin > 0 && end < bytes.len() && bytes[begin - 1] == b'"' && bytes[end] == b'"';
    if quoted && random.below(2) == 0 {
        (begin, end) = (begin - 1, end + 1);
    }
    let word = random.of(&WORDS);
    drop(bytes.splice(begin..end, word.bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the same number gives the same mutant, that other numbers give others, and that few mutants equal
    /// the file.
    #[test]
    fn a_mutant_is_a_function_of_its_number() {
        let file = br#"{"a": 12, "b": ["text", 3.5], "c": {"d": true}}"#;
        let mutants = |seed: u64| -> Vec<Vec<u8>> {
            let mutant = |number| mutate(file, Kind::Text, &mut Random::new(seed, number));
            (0..500).map(mutant).collect()
        };
        assert_eq!(mutants(1), mutants(1));
        assert_ne!(mutants(1), mutants(2));
        let mut different = mutants(1);
        different.sort();
        different.dedup();
        assert!(different.len() > 400, "{}", different.len());
        let same = mutants(1);
        let same = same.iter().filter(|mutant| mutant[..] == file[..]);
        assert!(same.count() < 20);
    }

    /// Checks that some mutants of files with a header have a header of another, correctly stated length and unchanged
    /// data.
    #[test]
    fn a_header_is_altered_without_its_data() {
        let header = br#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#;
        let length = (header.len() as u64).to_le_bytes();
        let file = [&length[..], header, &[7; 8]].concat();
        let is_apart = |mutant: &Vec<u8>| {
            let told = mutant.first_chunk().map(|told| u64::from_le_bytes(*told));
            mutant.len() != file.len()
                && mutant.ends_with(&[7; 8])
                && told == Some(mutant.len() as u64 - 16)
        };
        let mutants =
            (0..400).map(|number| mutate(&file, Kind::Headed, &mut Random::new(1, number)));
        assert!(mutants.filter(is_apart).count() > 100);
    }
}
