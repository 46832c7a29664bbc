//! Reader: the bytes of a pcapng or classic pcap file -> captured frames, one at a time.
//!
//! Files come from our own recordings, from anyone's `tcpdump`, and from disks that filled up. So: memory is one buffer whatever
//! the file says about itself, nothing is allocated a frame, and what is wrong is told with its byte offset. The parsers on
//! crates.io stop at "verification failed", or ask for more input for ever when a length inside a block lies; the
//! formats are small enough to read here (they serve as the second opinion in the tests).
//!
//! Formats: draft-ietf-opsawg-pcapng (section, interface, enhanced, simple and obsolete packet, statistics blocks; others are passed
//! over) and draft-ietf-opsawg-pcap (microseconds and nanoseconds, both byte orders).

use std::io::Read;

use super::fields::{Order, Ticks, options};
use super::look::look;
use super::named::{Named, Whose};
use super::statistics::Statistics;
use super::writer::FORMAT_COMMENT;
use super::{CaptureError, Fault};
use crate::time::KernelTime;

/// No frame is longer: libpcap's own limit is 256 KiB (MAXIMUM_SNAPLEN), a block adds its options.
const LONGEST_BLOCK: usize = 1 << 20;
/// Bytes asked of the file at a time, and the size of the buffer until a longer block comes.
const CHUNK: usize = 1 << 18;
/// Interfaces in a section; a capture of `any` lists those of a host.
const MOST_INTERFACES: usize = 4096;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

const OPT_COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const IF_TSOFFSET: u16 = 14;

/// A captured frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    pub stamp: KernelTime,
    /// LINKTYPE_ value of the interface, see the list of tcpdump.org.
    pub link: u16,
    /// The microphone whose socket it came from, where the recording is ours: see [`Writer::begin`](super::Writer::begin).
    pub mic: Option<usize>,
    /// It came from a socket of another array.
    pub is_others: bool,
    /// Its length on the wire.
    pub len: usize,
    /// What was captured of it.
    pub data: &'a [u8],
}

/// One record of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    Frame(Frame<'a>),
    /// A frame without a timestamp (simple packet block): of no use here.
    Unstamped,
    Statistics(Statistics<'a>),
    /// A new section: interfaces are numbered anew.
    Section,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u16,
    ticks: Ticks,
    whose: Whose,
}

#[derive(Debug)]
enum Format {
    Classic { order: Order, nanos: bool, link: u16 },
    Ng { order: Order, interfaces: Vec<Interface> },
}

/// See the top of the file.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    buffer: Vec<u8>,
    /// The unread part of the buffer.
    start: usize,
    end: usize,
    /// Where `start` stands in the file.
    offset: u64,
    format: Format,
    named: Named,
}

impl<R: Read> Reader<R> {
    /// Of a recording of several arrays, this one, or else the first.
    pub fn of_array(self, array: Option<&str>) -> Reader<R> {
        Reader { named: Named::of_array(array), ..self }
    }

    /// What its interfaces are named after, as far as the file has told.
    pub(super) fn named(&self) -> &Named {
        &self.named
    }

    /// Reads the file's header.
    pub fn new(input: R) -> Result<Reader<R>, CaptureError> {
        let little = Order { big: false };
        let format = Format::Ng { order: little, interfaces: Vec::new() };
        let mut reader =
            Reader { input, buffer: vec![0; CHUNK], start: 0, end: 0, offset: 0, format, named: Named::default() };
        if !reader.has(4)? {
            return Err(reader.fault(Fault::NotACapture(look(&reader.buffer[..reader.end]))));
        }
        let magic = reader.bytes(0, 4);
        let (big, nanos) = match u32::from_be_bytes([magic[0], magic[1], magic[2], magic[3]]) {
            SECTION => return Ok(reader),
            0xa1b2_c3d4 => (true, false),
            0xa1b2_3c4d => (true, true),
            0xd4c3_b2a1 => (false, false),
            0x4d3c_b2a1 => (false, true),
            _ => return Err(reader.fault(Fault::NotACapture(look(&reader.buffer[..reader.end])))),
        };
        if !reader.has(24)? {
            return Err(reader.fault(Fault::Truncated));
        }
        let order = Order { big };
        // The upper half may tell of a frame check sequence.
        let link = order.u32(reader.bytes(20, 4)) as u16;
        reader.consume(24);
        reader.format = Format::Classic { order, nanos, link };
        Ok(reader)
    }

    /// The next record, or `None` at the end of the file. After an error the reader stays where it is.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, CaptureError> {
        match self.format {
            Format::Classic { order, nanos, link } => self.next_classic(order, nanos, link),
            Format::Ng { .. } => self.next_block(),
        }
    }

    /// Where the bytes come from.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// Bytes of the file read so far, for a progress bar.
    pub fn position(&self) -> u64 {
        self.offset
    }

    fn next_classic(&mut self, order: Order, nanos: bool, link: u16) -> Result<Option<Record<'_>>, CaptureError> {
        const HEADER: usize = 16;
        if !self.has(1)? {
            return Ok(None);
        }
        if !self.has(HEADER)? {
            return Err(self.fault(Fault::Truncated));
        }
        let header = self.bytes(0, HEADER);
        let [seconds, fraction, captured, len] = [0, 4, 8, 12].map(|at| order.u32(&header[at..]));
        let (captured, len) = (captured as usize, len as usize);
        if captured > LONGEST_BLOCK {
            return Err(self.corrupt("a frame that is longer than 1 MiB"));
        }
        if fraction >= if nanos { 1_000_000_000 } else { 1_000_000 } {
            return Err(self.corrupt("a timestamp whose fraction is more than a second"));
        }
        if !self.has(HEADER + captured)? {
            return Err(self.fault(Fault::Truncated));
        }
        let nanoseconds = i64::from(fraction) * if nanos { 1 } else { 1_000 };
        let stamp = KernelTime::from_nanos(i64::from(seconds) * 1_000_000_000 + nanoseconds);
        let at = self.consume(HEADER + captured) + HEADER;
        let data = &self.buffer[at..at + captured];
        Ok(Some(Record::Frame(Frame { stamp, link, mic: None, is_others: false, len, data })))
    }

    fn next_block(&mut self) -> Result<Option<Record<'_>>, CaptureError> {
        loop {
            let Some((kind, length)) = self.block_header()? else { return Ok(None) };
            let body = self.start + 8..self.start + length - 4;
            match kind {
                SECTION => {
                    self.consume(length);
                    return Ok(Some(Record::Section));
                }
                INTERFACE => {
                    let interface = self.interface(body)?;
                    let Format::Ng { interfaces, .. } = &mut self.format else { unreachable!("a block is of pcapng") };
                    if interfaces.len() == MOST_INTERFACES {
                        return Err(self.corrupt("more than 4096 interfaces in a section"));
                    }
                    interfaces.push(interface);
                    self.consume(length);
                }
                SIMPLE_PACKET => {
                    self.consume(length);
                    return Ok(Some(Record::Unstamped));
                }
                ENHANCED_PACKET | OBSOLETE_PACKET => {
                    let (stamp, Interface { link, whose, .. }, data) = self.packet(kind, body.clone())?;
                    let mic = self.named.source(whose);
                    let len = self.order().u32(&self.buffer[body.start + 16..]) as usize;
                    self.consume(length);
                    let data = &self.buffer[data];
                    return Ok(Some(Record::Frame(Frame {
                        stamp,
                        link,
                        mic,
                        is_others: whose == Whose::Others,
                        len,
                        data,
                    })));
                }
                STATISTICS => {
                    let (mic, stamp) = self.statistics_head(body.clone())?;
                    let options = body.start + 12..body.end;
                    let order = self.order();
                    self.consume(length);
                    let statistics = Statistics::of(order, mic, stamp, &self.buffer[options]);
                    return Ok(Some(Record::Statistics(statistics)));
                }
                _ => self.consume_any(length)?,
            }
        }
    }

    /// Type and length of the block at hand, whole in the buffer if it is of a type that is read; `None` at the end of the file.
    /// A section header sets the byte order and forgets the interfaces.
    fn block_header(&mut self) -> Result<Option<(u32, usize)>, CaptureError> {
        if !self.has(1)? {
            return Ok(None);
        }
        if !self.has(12)? {
            return Err(self.fault(Fault::Truncated));
        }
        if self.order().u32(self.bytes(0, 4)) == SECTION {
            let big = match self.bytes(8, 4) {
                [0x1a, 0x2b, 0x3c, 0x4d] => true,
                [0x4d, 0x3c, 0x2b, 0x1a] => false,
                _ => return Err(self.corrupt("a section header without its byte-order magic")),
            };
            self.format = Format::Ng { order: Order { big }, interfaces: Vec::new() };
        }
        let order = self.order();
        let kind = order.u32(self.bytes(0, 4));
        let length = order.u32(self.bytes(4, 4)) as usize;
        // The draft asks for multiples of 4; a section header has 28 bytes at least.
        if length < 12 || !length.is_multiple_of(4) || (kind == SECTION && length < 28) {
            return Err(self.corrupt("a block whose length cannot be"));
        }
        let read = [SECTION, INTERFACE, OBSOLETE_PACKET, SIMPLE_PACKET, STATISTICS, ENHANCED_PACKET].contains(&kind);
        if read {
            if length > LONGEST_BLOCK {
                return Err(self.corrupt("a block that is longer than 1 MiB"));
            }
            if !self.has(length)? {
                return Err(self.fault(Fault::Truncated));
            }
            if order.u32(self.bytes(length - 4, 4)) as usize != length {
                return Err(self.corrupt("a block whose two lengths differ"));
            }
        }
        Ok(Some((kind, length)))
    }

    fn interface(&mut self, body: std::ops::Range<usize>) -> Result<Interface, CaptureError> {
        let order = self.order();
        let body = &self.buffer[body];
        if body.len() < 8 {
            return Err(self.corrupt("an interface description that is too short"));
        }
        let mut interface =
            Interface { link: order.u16(body), ticks: Ticks { resolution: 6, offset_s: 0 }, whose: Whose::Nobodys };
        let mut name = Vec::new();
        let mut format = None;
        for (code, value) in options(order, &body[8..]) {
            match (code, value) {
                (OPT_COMMENT, value) => {
                    let text = std::str::from_utf8(value).ok().and_then(|text| text.strip_prefix(FORMAT_COMMENT));
                    format = text.map(str::to_owned).or(format);
                }
                (IF_NAME, value) => name = value.to_vec(),
                (IF_TSRESOL, [resolution]) => interface.ticks.resolution = *resolution,
                (IF_TSOFFSET, value) if value.len() == 8 => {
                    interface.ticks.offset_s = order.u64(value).expect("eight bytes") as i64;
                }
                _ => {}
            }
        }
        if interface.ticks.to_time(0, 0).is_none() {
            return Err(self.corrupt("a timestamp resolution or offset that cannot be"));
        }
        interface.whose = self.named.interface(&name, format);
        Ok(interface)
    }

    /// Stamp, interface, and where in the buffer the frame is.
    fn packet(
        &self,
        kind: u32,
        body: std::ops::Range<usize>,
    ) -> Result<(KernelTime, Interface, std::ops::Range<usize>), CaptureError> {
        const HEAD: usize = 20;
        let order = self.order();
        let bytes = &self.buffer[body.clone()];
        if bytes.len() < HEAD {
            return Err(self.corrupt("a packet block that is too short"));
        }
        // The obsolete block has a 16-bit interface and a drop count in the place of the 32-bit interface.
        let number = if kind == ENHANCED_PACKET { order.u32(bytes) } else { u32::from(order.u16(bytes)) };
        let captured = order.u32(&bytes[12..]) as usize;
        if captured > bytes.len() - HEAD {
            return Err(self.corrupt("a packet that is longer than its block"));
        }
        let interface = self.interface_of(number)?;
        let stamp = self.stamp(interface, &bytes[4..])?;
        let data = body.start + HEAD..body.start + HEAD + captured;
        Ok((stamp, interface, data))
    }

    fn statistics_head(&self, body: std::ops::Range<usize>) -> Result<(Option<usize>, KernelTime), CaptureError> {
        let bytes = &self.buffer[body];
        if bytes.len() < 12 {
            return Err(self.corrupt("interface statistics that are too short"));
        }
        let interface = self.interface_of(self.order().u32(bytes))?;
        Ok((self.named.source(interface.whose), self.stamp(interface, &bytes[4..])?))
    }

    fn interface_of(&self, number: u32) -> Result<Interface, CaptureError> {
        let Format::Ng { interfaces, .. } = &self.format else { unreachable!("a block is of pcapng") };
        interfaces.get(number as usize).copied().ok_or_else(|| self.corrupt("an interface that was never described"))
    }

    fn stamp(&self, interface: Interface, ticks: &[u8]) -> Result<KernelTime, CaptureError> {
        let order = self.order();
        interface
            .ticks
            .to_time(order.u32(ticks), order.u32(&ticks[4..]))
            .ok_or_else(|| self.corrupt("a timestamp beyond the year 2262"))
    }

    fn order(&self) -> Order {
        match self.format {
            Format::Classic { order, .. } | Format::Ng { order, .. } => order,
        }
    }

    /// Whether `count` unread bytes are there, after reading on if need be.
    fn has(&mut self, count: usize) -> Result<bool, CaptureError> {
        if self.end - self.start >= count {
            return Ok(true);
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < count {
            self.buffer.resize(count.next_power_of_two(), 0);
        }
        while self.end < count {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Err(self.fault(Fault::GzipCut));
                }
                Err(error) => {
                    let offset = self.offset + self.end as u64;
                    return Err(CaptureError { offset, fault: Fault::Unreadable(error.to_string()) });
                }
            }
        }
        Ok(true)
    }

    /// Unread bytes that [`has`](Self::has) said are there.
    fn bytes(&self, at: usize, count: usize) -> &[u8] {
        &self.buffer[self.start + at..self.start + at + count]
    }

    /// Takes bytes that are in the buffer; returns where they stand in it, until the next read.
    fn consume(&mut self, count: usize) -> usize {
        let at = self.start;
        self.start += count;
        self.offset += count as u64;
        at
    }

    /// Passes over a block of any length.
    fn consume_any(&mut self, mut count: usize) -> Result<(), CaptureError> {
        while count > 0 {
            if !self.has(1)? {
                return Err(self.fault(Fault::Truncated));
            }
            let now = count.min(self.end - self.start);
            self.consume(now);
            count -= now;
        }
        Ok(())
    }

    fn fault(&self, fault: Fault) -> CaptureError {
        CaptureError { offset: self.offset, fault }
    }

    fn corrupt(&self, what: &'static str) -> CaptureError {
        self.fault(Fault::Corrupt(what))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Blocks written by hand, from the draft, in either byte order.
    struct Ng {
        big: bool,
        bytes: Vec<u8>,
    }

    impl Ng {
        fn new(big: bool) -> Ng {
            let mut ng = Ng { big, bytes: Vec::new() };
            let mut body = ng.u32(0x1a2b_3c4d).to_vec();
            body.extend(ng.u16(1));
            body.extend(ng.u16(0));
            body.extend([0xff; 8]);
            ng.block(SECTION, &body);
            ng
        }
        fn u16(&self, value: u16) -> [u8; 2] {
            if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
        }
        fn u32(&self, value: u32) -> [u8; 4] {
            if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
        }
        fn block(&mut self, kind: u32, body: &[u8]) {
            let mut body = body.to_vec();
            body.resize(body.len().next_multiple_of(4), 0);
            let length = self.u32(body.len() as u32 + 12);
            let kind = self.u32(kind);
            self.bytes.extend([&kind[..], &length, &body, &length].concat());
        }
        fn interface(&mut self, link: u16, options: &[(u16, &[u8])]) {
            let mut body = [&self.u16(link)[..], &[0; 6]].concat();
            for (code, value) in options {
                body.extend(self.u16(*code));
                body.extend(self.u16(value.len() as u16));
                body.extend(*value);
                body.resize(body.len().next_multiple_of(4), 0);
            }
            self.block(INTERFACE, &body);
        }
        fn packet(&mut self, interface: u32, ticks: u64, data: &[u8]) {
            let (high, low) = ((ticks >> 32) as u32, ticks as u32);
            let length = data.len() as u32;
            let mut body = [interface, high, low, length, length].map(|value| self.u32(value)).concat();
            body.extend(data);
            self.block(ENHANCED_PACKET, &body);
        }
    }

    /// Stamp and data.
    type Plain = (i64, Vec<u8>);

    /// Every frame until the end or an error.
    fn frames(file: &[u8]) -> (Vec<Plain>, Result<(), CaptureError>) {
        let mut seen = Vec::new();
        let mut reader = match Reader::new(file) {
            Ok(reader) => reader,
            Err(error) => return (seen, Err(error)),
        };
        loop {
            match reader.next_record() {
                Ok(None) => return (seen, Ok(())),
                Ok(Some(Record::Frame(frame))) => seen.push((frame.stamp.as_nanos(), frame.data.to_vec())),
                Ok(Some(_)) => {}
                Err(error) => return (seen, Err(error)),
            }
        }
    }

    fn sample(big: bool) -> Ng {
        let mut ng = Ng::new(big);
        ng.interface(1, &[(IF_TSRESOL, &[9])]);
        ng.block(0x0000_0bad, &[1, 2, 3]);
        for i in 0..5u64 {
            ng.packet(0, 1_795_345_500_000_000_000 + i, &vec![i as u8; 3 + 10 * i as usize]);
        }
        ng
    }

    #[test]
    fn timestamps_of_every_resolution() {
        let offset = 1_000_000i64;
        for big in [false, true] {
            let seconds = if big { offset.to_be_bytes() } else { offset.to_le_bytes() };
            let mut ng = Ng::new(big);
            ng.interface(1, &[]);
            ng.interface(1, &[(IF_TSRESOL, &[9])]);
            ng.interface(1, &[(IF_TSRESOL, &[0x80 | 20])]);
            ng.interface(1, &[(IF_TSRESOL, &[12])]);
            ng.interface(1, &[(IF_TSRESOL, &[3]), (IF_TSOFFSET, &seconds)]);
            ng.packet(0, 1_500_000, b"micro");
            ng.packet(1, 1_500_000_001, b"nano");
            ng.packet(2, 3 << 19, b"binary");
            ng.packet(3, 1_500_000_001_999, b"pico");
            ng.packet(4, 1_500, b"milli, and an offset");
            let (seen, end) = frames(&ng.bytes);
            assert_eq!(end, Ok(()));
            let stamps: Vec<i64> = seen.iter().map(|(stamp, _)| *stamp).collect();
            let last = 1_500_000_000 + offset * 1_000_000_000;
            assert_eq!(stamps, [1_500_000_000, 1_500_000_001, 1_500_000_000, 1_500_000_001, last], "big: {big}");
            assert_eq!(seen[4].1, b"milli, and an offset");
        }
    }

    #[test]
    fn classic_files_of_either_order_and_resolution() {
        for (big, nanos) in [(false, false), (false, true), (true, false), (true, true)] {
            let u32 = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
            let magic = if nanos { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
            // 0xf000_0000: frames end with a check sequence of four bytes.
            let mut file = [magic, 0x0002_0004, 0, 0, 262_144, 0xf000_0001].map(u32).concat();
            file.extend([1_795_345_500, 999_999, 3, 60].map(u32).concat());
            file.extend(b"abc");
            let mut reader = Reader::new(&file[..]).unwrap();
            let stamp = KernelTime::from_nanos(1_795_345_500_000_000_000 + if nanos { 999_999 } else { 999_999_000 });
            let frame = Frame { stamp, link: 1, mic: None, is_others: false, len: 60, data: b"abc" };
            assert_eq!(reader.next_record(), Ok(Some(Record::Frame(frame))));
            assert_eq!(reader.next_record(), Ok(None));
        }
    }

    #[test]
    fn sections_of_different_byte_order_in_one_file() {
        let file = [sample(false).bytes, sample(true).bytes].concat();
        let (seen, end) = frames(&file);
        assert_eq!((seen.len(), end), (10, Ok(())));
        assert_eq!(seen[..5], seen[5..]);
    }

    #[test]
    fn a_file_cut_anywhere_gives_what_was_whole_and_says_where_it_ends() {
        let ng = sample(false);
        // The packet blocks, from their own lengths.
        let edges: Vec<usize> = {
            let mut at = 0;
            std::iter::from_fn(|| {
                let length = ng.bytes.get(at + 4..at + 8)?;
                at += u32::from_le_bytes(length.try_into().unwrap()) as usize;
                Some(at)
            })
            .collect()
        };
        for cut in 4..ng.bytes.len() {
            let (seen, end) = frames(&ng.bytes[..cut]);
            let whole = edges.iter().filter(|edge| **edge <= cut).count();
            assert_eq!(seen.len(), whole.saturating_sub(3), "three blocks come before the packets");
            let begins = edges.iter().rev().find(|edge| **edge <= cut).copied().unwrap_or(0);
            if begins == cut {
                assert_eq!(end, Ok(()));
                continue;
            }
            // A block that is passed over has been consumed as far as it was there.
            let error = end.unwrap_err();
            assert_eq!(error.fault, Fault::Truncated);
            let passed_over = begins == edges[1] && cut - begins >= 12;
            assert_eq!(error.offset, if passed_over { cut } else { begins } as u64, "cut at {cut}");
        }
    }

    #[test]
    fn lies_are_told_with_their_offset() {
        let begin = sample(false).bytes.len() as u64;
        type Break = fn(&mut Ng);
        let cases: [(&str, Break); 8] = [
            ("a block whose length cannot be", |ng| ng.bytes.extend([6, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0])),
            ("a block whose length cannot be", |ng| ng.bytes.extend([6, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0])),
            ("a block that is longer than 1 MiB", |ng| ng.bytes.extend([6, 0, 0, 0, 0, 0, 0, 0xf0, 0, 0, 0, 0])),
            ("a block whose two lengths differ", |ng| {
                ng.packet(0, 0, b"x");
                *ng.bytes.last_mut().unwrap() = 1;
            }),
            ("a packet that is longer than its block", |ng| {
                ng.packet(0, 0, b"abcd");
                let length = ng.bytes.len() - 36 + 20;
                ng.bytes[length] = 200;
            }),
            ("an interface that was never described", |ng| ng.packet(7, 0, b"x")),
            ("a packet block that is too short", |ng| ng.block(ENHANCED_PACKET, &[0; 16])),
            ("a timestamp beyond the year 2262", |ng| ng.packet(0, u64::MAX, b"x")),
        ];
        for (what, break_it) in cases {
            let mut ng = sample(false);
            break_it(&mut ng);
            let (seen, end) = frames(&ng.bytes);
            assert_eq!(seen.len(), 5, "{what}");
            assert_eq!(end, Err(CaptureError { offset: begin, fault: Fault::Corrupt(what) }));
        }
        assert!(matches!(frames(b"RIFF....WAVE").1.unwrap_err().fault, Fault::NotACapture(_)));
        assert!(matches!(frames(b"").1.unwrap_err().fault, Fault::NotACapture(_)));
    }

    #[test]
    fn an_unknown_block_of_any_length_is_passed_over_in_bounded_memory() {
        let mut ng = sample(false);
        ng.block(0x0000_0bad, &vec![7; 5 << 20]);
        ng.packet(0, 42, b"behind it");
        let mut reader = Reader::new(&ng.bytes[..]).unwrap();
        let mut last = 0;
        while let Some(record) = reader.next_record().unwrap() {
            if let Record::Frame(frame) = record {
                last = frame.stamp.as_nanos();
            }
        }
        assert_eq!(last, 42);
        assert!(reader.buffer.len() <= LONGEST_BLOCK);
    }

    proptest! {
        /// Whatever the bytes: it ends, and does not panic.
        #[test]
        fn any_bytes_end_in_an_answer(mut file in proptest::collection::vec(any::<u8>(), 0..400), magic in 0usize..6) {
            let magics: [&[u8]; 6] = [
                &[], b"\x0a\x0d\x0d\x0a", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1",
                b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a\x01\0\0\0\0\0\0\0\0\0\0\0\x1c\0\0\0",
                b"\x0a\x0d\x0d\x0a\0\0\0\x1c\x1a\x2b\x3c\x4d\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\x1c",
            ];
            file.splice(..0, magics[magic].iter().copied());
            let _ = frames(&file);
        }

        /// A valid file with some bytes changed: never more than it held, and a second parser reads the same frames before the first error.
        #[test]
        fn changed_bytes_end_in_an_answer(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            big in any::<bool>(),
        ) {
            let mut file = sample(big).bytes;
            for (at, byte) in changes {
                let at = at.index(file.len());
                file[at] = byte;
            }
            let (seen, end) = frames(&file);
            prop_assert!(seen.iter().map(|(_, data)| data.len()).sum::<usize>() <= file.len());
            if let Err(error) = end {
                prop_assert!(error.offset <= file.len() as u64);
            }
        }

        #[test]
        fn a_second_parser_reads_the_same(
            big in any::<bool>(),
            packets in proptest::collection::vec((0..i64::MAX as u64, proptest::collection::vec(any::<u8>(), 0..300)), 0..30),
        ) {
            use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
            use pcap_parser::{Block, PcapBlockOwned, PcapError, PcapNGReader};
            let mut ng = Ng::new(big);
            ng.interface(101, &[(IF_TSRESOL, &[9])]);
            for (ticks, data) in &packets {
                ng.packet(0, *ticks, data);
            }
            let mut theirs = Vec::new();
            let mut reader = PcapNGReader::new(65_536, &ng.bytes[..]).unwrap();
            loop {
                match reader.next() {
                    Ok((length, block)) => {
                        if let PcapBlockOwned::NG(Block::EnhancedPacket(block)) = block {
                            let ticks = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
                            theirs.push((ticks as i64, block.packet_data().to_vec()));
                        }
                        reader.consume(length);
                    }
                    Err(PcapError::Eof) => break,
                    Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
                    Err(error) => panic!("{error:?}"),
                }
            }
            prop_assert_eq!(frames(&ng.bytes), (theirs, Ok(())));
        }
    }
}
