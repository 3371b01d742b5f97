//! Fewer bytes between two Outposts: behind CONNECT and CONNACK, each direction is one zstd stream.
//!
//! What is written in one burst, many small packets perhaps, becomes one block, and every block knows
//! what came in those before it: topics, property names and the shape of the payloads cost next to
//! nothing from their second time on. Packets stay what they are, each with its acknowledgement, so that
//! nothing else has to know of it.
//!
//! # Limits
//! - Both sides keep [`WINDOW_LOG`] of what was said, and refuse to be asked for more. By zstd's
//!   tables and buffers some 1.5 MiB a connection at the default level, from the first message on; 18 KB
//!   before that (measured).
//! - A read gives no more than its buffer holds, however much a few bytes stand for.
//! - Whoever can have his own text sent over a link and see how long the packets of it are may learn
//!   whether that text is like what else is sent, TLS or not (CRIME, 2012). Where publishers of one
//!   gateway are not to know of each other's messages, do without.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};

/// Both directions keep 2^17 = 128 KiB of what was said.
pub const WINDOW_LOG: u32 = 17;

/// The level that is used where none is asked for: higher ones save little on messages so small.
pub const DEFAULT_LEVEL: i32 = 3;

/// What is read from the stream at once.
const INPUT_BYTES: usize = 8 * 1024;

/// Encoded bytes that wait before no more are taken.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// So much is encoded at once.
const ENCODE_BYTES: usize = 16 * 1024;

/// A byte stream whose bytes are zstd, both ways.
pub struct Compressed<S> {
    stream: S,
    encoder: Encoder<'static>,
    decoder: Decoder<'static>,
    /// Read and not decoded.
    input: Vec<u8>,
    decoded: usize,
    /// The decoder may have more of what it took.
    holds_back: bool,
    /// Encoded and not written.
    output: Vec<u8>,
    written: usize,
    /// The encoder holds something back.
    is_unflushed: bool,
    /// The first packet is written as it is.
    is_first_plain: bool,
}

impl<S> Compressed<S> {
    /// For a client that has read CONNACK, and `unread` behind it. `level`: 1 to 19.
    ///
    /// # Panics
    /// With a level that there is not.
    pub fn new(stream: S, unread: Vec<u8>, level: i32) -> Self {
        const WITHIN: &str = "the parameters are within what zstd takes";
        let mut encoder = Encoder::new(level).expect(WITHIN);
        encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG)).expect(WITHIN);
        let mut decoder = Decoder::new().expect(WITHIN);
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).expect(WITHIN);
        Self {
            stream,
            encoder,
            decoder,
            input: unread,
            decoded: 0,
            holds_back: false,
            output: Vec::new(),
            written: 0,
            is_unflushed: false,
            is_first_plain: false,
        }
    }

    /// For a server that has read CONNECT, and `unread` behind it: CONNACK, the first packet that is
    /// written, is not compressed.
    pub fn for_server(stream: S, unread: Vec<u8>) -> Self {
        Self { is_first_plain: true, ..Self::new(stream, unread, DEFAULT_LEVEL) }
    }

    /// The stream below.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Decodes into `buffer` what has been read. 0: more has to be read.
    fn decode(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let unread = &self.input[self.decoded..];
        let mut input = InBuffer::around(unread);
        let mut output = OutBuffer::around(buffer);
        // The decoder takes being asked for nothing again and again for a mistake. It holds something
        // back only where the last buffer was too small for all.
        while output.pos() < output.capacity() && (input.pos() < unread.len() || self.holds_back) {
            self.decoder.run(&mut input, &mut output)?;
            self.holds_back = output.pos() == output.capacity();
        }
        let produced = output.pos();
        self.decoded += input.pos();
        if self.decoded == self.input.len() {
            self.input.clear();
            self.decoded = 0;
        }
        Ok(produced)
    }

    fn encode(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut input = InBuffer::around(bytes);
        let mut chunk = [0; ENCODE_BYTES];
        while input.pos() < bytes.len() {
            let mut output = OutBuffer::around(&mut chunk[..]);
            self.encoder.run(&mut input, &mut output)?;
            self.output.extend_from_slice(output.as_slice());
        }
        self.is_unflushed = true;
        Ok(())
    }

    /// Ends the block: the other side can decode all that was written.
    fn flush_block(&mut self) -> io::Result<()> {
        let mut chunk = [0; ENCODE_BYTES];
        while std::mem::take(&mut self.is_unflushed) {
            let mut output = OutBuffer::around(&mut chunk[..]);
            self.is_unflushed = self.encoder.flush(&mut output)? > 0;
            self.output.extend_from_slice(output.as_slice());
        }
        Ok(())
    }
}

impl<S: AsyncWrite + Unpin> Compressed<S> {
    /// Writes what is encoded, as far as the stream takes it.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let taken = Pin::new(&mut self.stream).poll_write(cx, &self.output[self.written..]);
            match ready!(taken)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.output.clear();
        self.output.shrink_to(ENCODE_BYTES);
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Compressed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let produced = this.decode(buffer.initialize_unfilled())?;
            if produced > 0 || buffer.remaining() == 0 {
                buffer.advance(produced);
                return Poll::Ready(Ok(()));
            }
            let mut chunk = [0; INPUT_BYTES];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.input.extend_from_slice(read.filled());
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Compressed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.output.len() - this.written >= OUTPUT_BYTES_MAX {
            ready!(this.poll_drain(cx))?;
        }
        if std::mem::take(&mut this.is_first_plain) {
            let len = first_packet_len(bytes);
            this.output.extend_from_slice(&bytes[..len]);
            return Poll::Ready(Ok(len));
        }
        let bytes = &bytes[..bytes.len().min(ENCODE_BYTES)];
        this.encode(bytes)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.flush_block()?;
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.flush_block()?;
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for Compressed<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressed").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// The length of the packet that these bytes begin with; all of them where they are less.
fn first_packet_len(bytes: &[u8]) -> usize {
    let (mut remaining, mut header) = (0, 1);
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        remaining |= usize::from(byte & 0x7f) << (7 * index);
        header += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (header + remaining).min(bytes.len())
}

/// Reads a stream of these bytes, which come in pieces of up to so many, as a server does, to its end or
/// to an error. What the fuzz target checks, and tests with it.
///
/// # Panics
/// Where a bound of this module does not hold.
#[cfg(any(test, feature = "fuzzing"))]
pub fn hostile(bytes: &[u8], piece_bytes: usize) {
    /// What one block stands for, and a block has three bytes or more.
    const BLOCK_BYTES_MAX: usize = 1 << 17;
    let mut server = Compressed::for_server(Pieces { left: bytes, piece_bytes }, Vec::new());
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let (mut total, mut chunk) = (0, vec![0; 4096]);
    loop {
        let mut read = ReadBuf::new(&mut chunk);
        match Pin::new(&mut server).poll_read(&mut cx, &mut read) {
            Poll::Ready(Ok(())) if read.filled().is_empty() => return,
            Poll::Ready(Ok(())) => total += read.filled().len(),
            Poll::Ready(Err(_)) => return,
            Poll::Pending => panic!("more can be read at any time"),
        }
        assert!(total <= bytes.len() * BLOCK_BYTES_MAX, "{total} of {}", bytes.len());
        assert!(server.input.capacity() <= 4 * INPUT_BYTES, "{}", server.input.capacity());
    }
}

/// A stream that brings a piece at a time.
#[cfg(any(test, feature = "fuzzing"))]
struct Pieces<'b> {
    left: &'b [u8],
    piece_bytes: usize,
}

#[cfg(any(test, feature = "fuzzing"))]
impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len = self.piece_bytes.max(1).min(self.left.len()).min(buffer.remaining());
        let (piece, left) = self.left.split_at(len);
        buffer.put_slice(piece);
        self.left = left;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn telemetry(number: usize) -> String {
        let value = 70 + number * 7 % 13;
        format!(
            "0\u{60}\u{0}\u{16}plant/boiler/{}/values{{\"ts\":{},\"id\":\"boiler-{}\",\"temperature\":{value}.{}}}",
            number % 20,
            1_700_000_000 + number,
            number % 20,
            number % 100
        )
    }

    #[tokio::test]
    async fn both_directions_arrive_whole_and_small() {
        let (near, far) = duplex(1 << 16);
        let mut client = Compressed::new(near, Vec::new(), DEFAULT_LEVEL);
        let mut server = Compressed::for_server(far, Vec::new());
        // CONNACK and more in one write: only the packet itself is plain.
        server.write_all(b"\x20\x02\x00\x00behind").await.unwrap();
        server.flush().await.unwrap();
        let mut connack = [0; 4];
        client.get_mut().read_exact(&mut connack).await.unwrap();
        assert_eq!(&connack, b"\x20\x02\x00\x00");
        let mut rest = [0; 6];
        client.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"behind");
        for number in 0..500 {
            let sent = telemetry(number);
            client.write_all(sent.as_bytes()).await.unwrap();
            client.flush().await.unwrap();
            let mut got = vec![0; sent.len()];
            server.read_exact(&mut got).await.unwrap();
            assert_eq!(got, sent.as_bytes());
        }
        client.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn repeated_telemetry_takes_a_fraction() {
        let (mut plain, mut sent) = (0, 0);
        let (near, mut far) = duplex(1 << 20);
        let mut client = Compressed::new(near, Vec::new(), DEFAULT_LEVEL);
        let mut raw = vec![0; 1 << 16];
        for number in 0..2_000 {
            let packet = telemetry(number);
            plain += packet.len();
            client.write_all(packet.as_bytes()).await.unwrap();
            if number % 10 == 9 {
                client.flush().await.unwrap();
                sent += far.read(&mut raw).await.unwrap();
            }
        }
        assert!(sent * 4 < plain, "{sent} of {plain}");
    }

    /// Any split of the bytes below, and unread bytes that came with the packet before.
    #[tokio::test]
    async fn pieces_make_no_difference() {
        let (near, mut far) = duplex(1 << 20);
        let mut client = Compressed::new(near, Vec::new(), 1);
        let text: Vec<u8> = (0..50_000u32).flat_map(u32::to_be_bytes).collect();
        client.write_all(&text).await.unwrap();
        client.shutdown().await.unwrap();
        drop(client);
        let mut raw = Vec::new();
        far.read_to_end(&mut raw).await.unwrap();
        for piece in [1, 7, 1000] {
            let (mut near, far) = duplex(piece);
            let unread = raw[..3].to_vec();
            let mut server = Compressed::for_server(far, unread);
            let feed = async {
                for piece in raw[3..].chunks(piece) {
                    near.write_all(piece).await.unwrap();
                }
                drop(near);
            };
            let mut got = Vec::new();
            let (_, read) = tokio::join!(feed, server.read_to_end(&mut got));
            read.unwrap();
            assert!(got == text);
        }
    }

    #[tokio::test]
    async fn garbage_and_too_large_windows_are_errors() {
        let mut big = Encoder::new(1).unwrap();
        big.set_parameter(CParameter::WindowLog(24)).unwrap();
        let mut large = vec![0; 1 << 16];
        let mut output = OutBuffer::around(&mut large[..]);
        let text = vec![7; 1 << 14];
        big.run(&mut InBuffer::around(&text[..]), &mut output).unwrap();
        big.flush(&mut output).unwrap();
        let window = output.as_slice().to_vec();
        for bytes in [b"not zstd at all, but long enough to be seen".to_vec(), window] {
            let (_near, far) = duplex(64);
            let mut server = Compressed::for_server(far, bytes);
            assert!(server.read(&mut [0; 64]).await.is_err());
        }
    }

    /// A few bytes that stand for many: each read gives what its buffer holds.
    #[tokio::test]
    async fn a_bomb_is_read_in_portions() {
        let (near, far) = duplex(1 << 20);
        let mut client = Compressed::new(near, Vec::new(), DEFAULT_LEVEL);
        let mut server = Compressed::for_server(far, Vec::new());
        client.write_all(&vec![0; 8 << 20]).await.unwrap();
        client.flush().await.unwrap();
        let (mut got, mut chunk) = (0, vec![0; 1000]);
        while got < 8 << 20 {
            let read = server.read(&mut chunk).await.unwrap();
            assert!(read <= 1000 && server.input.len() <= 2 * INPUT_BYTES);
            got += read;
        }
    }

    /// Polled again and again while nothing comes, as tasks do.
    #[tokio::test]
    async fn waiting_is_no_mistake() {
        let (near, far) = duplex(1 << 20);
        let mut client = Compressed::new(near, Vec::new(), DEFAULT_LEVEL);
        let mut server = Compressed::for_server(far, Vec::new());
        for _ in 0..3 {
            for _ in 0..100 {
                let mut buffer = [0; 64];
                let read = server.read(&mut buffer);
                let none = tokio::time::timeout(std::time::Duration::ZERO, read).await;
                assert!(none.is_err(), "nothing was sent");
            }
            client.write_all(b"something").await.unwrap();
            client.flush().await.unwrap();
            let mut got = [0; 9];
            server.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"something");
        }
    }

    fn compressed(text: &[u8]) -> Vec<u8> {
        let mut client = Compressed::new((), Vec::new(), DEFAULT_LEVEL);
        client.encode(text).unwrap();
        client.flush_block().unwrap();
        client.output
    }

    /// The corpus of the fuzz target `compressed`: a byte for the size of the pieces, then the stream.
    #[test]
    fn the_corpus_is_read_within_bounds() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/compressed");
        let files = std::fs::read_dir(folder).expect("the corpus is committed");
        let mut count = 0;
        for file in files {
            let data =
                std::fs::read(file.expect("it can be listed").path()).expect("it can be read");
            let (piece, bytes) = data.split_first().expect("it is not empty");
            hostile(bytes, usize::from(*piece));
            count += 1;
        }
        assert!(count > 0);
    }

    proptest! {
        /// What is no zstd, or is none behind its first bytes, comes to an end.
        #[test]
        fn hostile_bytes_end_in_an_error_or_an_end(
            is_begun in any::<bool>(),
            piece in 1..64_usize,
            tail in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = if is_begun { compressed(b"plant/boiler/1") } else { Vec::new() };
            bytes.extend(tail);
            hostile(&bytes, piece);
        }

        /// Likewise where single bytes are changed on their way.
        #[test]
        fn changed_bytes_end_in_an_error_or_an_end(at in any::<prop::sample::Index>(), to: u8) {
            let text: String = (0..40).map(telemetry).collect();
            let mut bytes = compressed(text.as_bytes());
            let at = at.index(bytes.len());
            bytes[at] = to;
            hostile(&bytes, 1000);
        }

        /// Whatever is written and however it is cut into writes and flushes.
        #[test]
        fn what_is_written_is_read(
            writes in prop::collection::vec((prop::collection::vec(0..4_u8, 0..3000), any::<bool>()), 0..20),
        ) {
            let mut client = Compressed::new((), Vec::new(), DEFAULT_LEVEL);
            for (write, is_flushed) in &writes {
                client.encode(write).unwrap();
                if *is_flushed {
                    client.flush_block().unwrap();
                }
            }
            client.flush_block().unwrap();
            let sum: usize = writes.iter().map(|(write, _)| write.len()).sum();
            let mut server = Compressed::for_server((), client.output);
            let (mut got, mut chunk) = (Vec::new(), [0; 777]);
            while got.len() < sum {
                let read = server.decode(&mut chunk).unwrap();
                prop_assert!(read > 0);
                got.extend_from_slice(&chunk[..read]);
            }
            prop_assert_eq!(got, writes.into_iter().flat_map(|(write, _)| write).collect::<Vec<u8>>());
        }
    }
}
