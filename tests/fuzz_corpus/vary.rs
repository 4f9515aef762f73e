//! Variations of inputs, as a fuzzer without a view of the code makes them up.

use std::hash::{DefaultHasher, Hash, Hasher};

/// The words of a libFuzzer dictionary.
pub fn words(dictionary: &[u8]) -> Vec<Vec<u8>> {
    let lines = dictionary.split(|byte| *byte == b'\n');
    let quoted = |line: &[u8]| {
        let mut bytes = line.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let mut word = Vec::new();
        while let Some((&byte, rest)) = bytes.split_first() {
            bytes = rest;
            match (byte, rest) {
                (b'\\', [b'x', high, low, rest @ ..]) => {
                    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a digit") as u8;
                    word.push(digit(*high) * 16 + digit(*low));
                    bytes = rest;
                }
                (b'\\', [escaped, rest @ ..]) => {
                    word.push(*escaped);
                    bytes = rest;
                }
                _ => word.push(byte),
            }
        }
        Some(word)
    };
    lines.filter_map(quoted).collect()
}

/// One variation after the other, the same ones for the same seed.
pub struct Variations {
    inputs: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    seed: u64,
    drawn: u64,
}

impl Variations {
    pub fn new(inputs: Vec<Vec<u8>>, words: Vec<Vec<u8>>, seed: u64) -> Self {
        Variations { inputs, words, seed, drawn: 0 }
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        self.drawn += 1;
        let mut hasher = DefaultHasher::new();
        (self.seed, self.drawn).hash(&mut hasher);
        (hasher.finish() % bound as u64) as usize
    }

    fn pick(&mut self) -> Vec<u8> {
        let at = self.below(self.inputs.len());
        self.inputs[at].clone()
    }

    /// A place to begin at and one to end at.
    fn range(&mut self, of: &[u8]) -> std::ops::Range<usize> {
        let (a, b) = (self.below(of.len() + 1), self.below(of.len() + 1));
        a.min(b)..a.max(b).min(a.min(b) + 200)
    }

    fn line(&mut self, of: &[u8]) -> Vec<u8> {
        let lines: Vec<&[u8]> = of.split_inclusive(|byte| *byte == b'\n').collect();
        match lines.len() {
            0 => Vec::new(),
            len => lines[self.below(len)].to_vec(),
        }
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        match self.below(8) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = b"{}[]\",:0$ \n\\"[self.below(12)],
            2 => drop(input.drain(self.range(&input.clone()))),
            3 => {
                let copied = input[self.range(&input.clone())].to_vec();
                drop(input.splice(at..at, copied));
            }
            4 => {
                let other = self.pick();
                let copied = other[self.range(&other)].to_vec();
                drop(input.splice(at..at, copied));
            }
            5 => {
                // Whole lines are what scripts and requests are made of.
                let other = self.pick();
                let line = self.line(&other);
                let begin =
                    input[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |n| n + 1);
                drop(input.splice(begin..begin, line));
            }
            _ => {
                let word = self.below(self.words.len());
                drop(input.splice(at..at, self.words[word].iter().copied()));
            }
        }
    }
}

impl Iterator for Variations {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut input = self.pick();
        for _ in 0..=self.below(5) {
            self.change(&mut input);
        }
        Some(input)
    }
}
