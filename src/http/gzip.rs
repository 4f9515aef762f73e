//! Response bodies in `gzip` form (RFC 1952), for clients that accept it.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use miniz_oxide::deflate::compress_to_vec;

/// The compression level of data. Level 1 packs a canvas of 4 MiB in about 40 ms; higher ones make
/// it little smaller.
pub const DATA_LEVEL: u8 = 1;
/// The compression level of pages, which browsers keep: the live page takes about 20 ms and becomes
/// a quarter smaller than with level 1.
pub const PAGE_LEVEL: u8 = 6;
/// Bodies of fewer bytes are not packed: they fit into one or two packets anyway.
pub const MIN_BYTES: usize = 1400;

/// How many bodies are packed at a time. Further ones are sent unpacked.
const MAX_CONCURRENT: usize = 4;
/// The stack of a packing thread, in bytes. Packing needs more than a client's thread has.
const STACK_BYTES: usize = 2 << 20;

static PACKING: AtomicUsize = AtomicUsize::new(0);

/// Packs a body at a level, on a thread of its own and waits for it. Takes time linear in the body. `None`
/// where too many bodies are being packed or no thread could be started; the body is then sent
/// unpacked.
pub fn compressed(body: &Bytes, level: u8) -> Option<Vec<u8>> {
    let one_more = |packing| (packing < MAX_CONCURRENT).then_some(packing + 1);
    PACKING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
    let body = body.clone();
    let thread = std::thread::Builder::new().name("gzip".into()).stack_size(STACK_BYTES);
    let packed =
        thread.spawn(move || pack(&body, level)).ok().and_then(|thread| thread.join().ok());
    PACKING.fetch_sub(1, Ordering::Relaxed);
    packed
}

fn pack(body: &[u8], level: u8) -> Vec<u8> {
    // The header: no file name, no modification time, unknown system.
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    gzip.extend_from_slice(&compress_to_vec(body, level));
    gzip.extend_from_slice(&crc32(body).to_le_bytes());
    gzip.extend_from_slice(&(body.len() as u32).to_le_bytes());
    gzip
}

/// True where an `Accept-Encoding` accepts gzip (RFC 9110 §12.5.3): by name or by `*`, and not with
/// `q=0`.
pub fn is_accepted<'a>(accepted: impl Iterator<Item = &'a str>) -> bool {
    let mut by_any = false;
    for coding in accepted.flat_map(|value| value.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().ok())?
        });
        let is_taken = quality.unwrap_or(1.0) > 0.0;
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => return is_taken,
            "*" => by_any = is_taken,
            _ => {}
        }
    }
    by_any
}

/// The CRC-32 of ISO 3309, one byte at a time.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0, |sum: u32, byte| (sum >> 8) ^ TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)])
}

static TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut sum, mut bit) = (byte as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_a_head_the_body_and_its_sums() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let body = b"{\"items\":[]}".repeat(1000);
        for level in [DATA_LEVEL, PAGE_LEVEL] {
            let gzip = pack(&body, level);
            assert!(gzip.len() < body.len() / 20, "{} bytes", gzip.len());
            let (packed, sums) = gzip[10..].split_at(gzip.len() - 18);
            assert_eq!(miniz_oxide::inflate::decompress_to_vec(packed).expect("a stream"), body);
            let expected = [crc32(&body).to_le_bytes(), 12_000u32.to_le_bytes()].concat();
            assert_eq!(sums, expected);
        }
    }

    #[test]
    fn it_is_sent_to_who_takes_it_alone() {
        for (accepted, is_sent) in [
            (&["gzip"][..], true),
            (&["GZIP"], true),
            (&["deflate, gzip;q=0.5, br"], true),
            (&["deflate", "x-gzip"], true),
            (&["*"], true),
            (&["br;q=1.0, *;q=0.1"], true),
            (&["gzip;q=0"], false),
            (&["gzip; q=0.000, *"], false),
            (&["*;q=0"], false),
            (&["identity"], false),
            (&["deflate, br"], false),
            (&["gzipped"], false),
            (&[""], false),
            (&[], false),
        ] {
            assert_eq!(is_accepted(accepted.iter().copied()), is_sent, "{accepted:?}");
        }
    }
}
