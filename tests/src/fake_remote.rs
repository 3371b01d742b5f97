//! A remote broker that does what a test says: to see what a bridge makes of one that is wrong, rude,
//! poor or slow.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use outpost_protocol::{
    ConnAck, Connect, Packet, Properties, Property, ProtocolVersion, PubAck, PubComp, PubRec,
    Publish, QoS, ReasonCode, ReasonCodes, SubAck, decode,
};

use crate::client::{ANY_SIZE, Bytes};

/// It listens until it is dropped, and serves each connection on a thread of its own.
#[derive(Debug)]
pub struct FakeRemote {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_stopped: AtomicBool,
    connections: AtomicUsize,
    /// To end the threads that read from them.
    open: Mutex<Vec<TcpStream>>,
}

impl FakeRemote {
    /// Has `serve` serve each connection. What it returns says nothing: `None` is the short way out
    /// when the connection is lost.
    pub fn start(serve: impl Fn(&mut Caller) -> Option<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let (serve, theirs) = (Arc::new(serve), Arc::clone(&shared));
        let listen = move || {
            for stream in listener.incoming() {
                let stream = stream.expect("accept");
                if theirs.is_stopped.load(Ordering::Relaxed) {
                    return;
                }
                let number = theirs.connections.fetch_add(1, Ordering::Relaxed);
                theirs.lock_open().push(stream.try_clone().expect("clone the socket"));
                let (serve, mut caller) = (Arc::clone(&serve), Caller::new(stream, number));
                thread::spawn(move || {
                    let _ = serve(&mut caller);
                    // The other handle would keep it open.
                    let _ = caller.stream.shutdown(Shutdown::Both);
                });
            }
        };
        Self { address, shared, listening: Some(thread::spawn(listen)) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there were so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn lock_open(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FakeRemote {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
        for stream in self.shared.lock_open().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// One connection to a [`FakeRemote`]. All of its methods return nothing when it is lost.
#[derive(Debug)]
pub struct Caller {
    /// To do worse than send packets.
    pub stream: TcpStream,
    /// How many connections there were before it.
    pub number: usize,
    /// So many bytes go in one read or write at the most.
    pub piece_bytes: usize,
    version: ProtocolVersion,
    input: Vec<u8>,
    taken: usize,
}

/// What is answered to one packet.
#[derive(Debug)]
pub struct Answer {
    version: ProtocolVersion,
    bytes: Bytes,
}

impl Caller {
    fn new(stream: TcpStream, number: usize) -> Self {
        stream.set_nodelay(true).expect("set TCP_NODELAY");
        let (version, input) = (ProtocolVersion::V5, Vec::new());
        Self { stream, number, piece_bytes: 16 * 1024, version, input, taken: 0 }
    }

    /// Waits for CONNECT, and does not answer it.
    pub fn take_connect(&mut self) -> Option<()> {
        let Packet::Connect(Connect { version, .. }) = self.next_packet()? else {
            panic!("the first packet is not CONNECT")
        };
        self.version = version;
        Some(())
    }

    /// Waits for CONNECT and answers it with Success and these properties. From the second
    /// connection on the session is there.
    pub fn welcome(&mut self, properties: &[Property<'_>]) -> Option<()> {
        self.take_connect()?;
        let connack = ConnAck {
            session_present: self.number > 0,
            reason: ReasonCode::Success,
            properties: Properties::list(properties),
        };
        self.send(&Packet::ConnAck(connack))
    }

    /// Waits for CONNECT and refuses it.
    pub fn refuse(&mut self, reason: ReasonCode) -> Option<()> {
        self.take_connect()?;
        let (session_present, properties) = (false, Properties::EMPTY);
        self.send(&Packet::ConnAck(ConnAck { session_present, reason, properties }))
    }

    /// The next packet.
    pub fn next_packet(&mut self) -> Option<Packet<'_>> {
        self.input.drain(..self.taken);
        self.taken = 0;
        loop {
            // Decoded again below: a borrow that is returned on one way only is held on both.
            if decode(&self.input, self.version, ANY_SIZE).expect("a packet").is_some() {
                break;
            }
            let begun = self.input.len();
            self.input.resize(begun + self.piece_bytes, 0);
            let count =
                self.stream.read(&mut self.input[begun..]).ok().filter(|&count| count > 0)?;
            self.input.truncate(begun + count);
        }
        let (packet, len) = decode(&self.input, self.version, ANY_SIZE).expect("a packet")?;
        self.taken = len;
        Some(packet)
    }

    /// Sends a packet.
    pub fn send(&mut self, packet: &Packet<'_>) -> Option<()> {
        let bytes = self.encode(packet);
        self.send_bytes(&bytes)
    }

    /// The bytes of a packet in the version that is spoken.
    pub fn encode(&self, packet: &Packet<'_>) -> Vec<u8> {
        let mut answer = Answer::new(self.version);
        answer.put(packet);
        answer.bytes.0
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Option<()> {
        bytes.chunks(self.piece_bytes).try_for_each(|piece| self.stream.write_all(piece).ok())
    }

    /// Answers each packet as `answer` does, until the connection is lost.
    pub fn serve(&mut self, mut answer: impl FnMut(&Packet<'_>, &mut Answer)) -> Option<()> {
        let version = self.version;
        loop {
            let mut answered = Answer::new(version);
            answer(&self.next_packet()?, &mut answered);
            self.send_bytes(&answered.bytes.0)?;
        }
    }

    /// Waits for a packet and answers it as a broker should.
    pub fn answer_one(&mut self) -> Option<()> {
        let mut answered = Answer::new(self.version);
        answered.politely(&self.next_packet()?);
        self.send_bytes(&answered.bytes.0)
    }

    /// Swallows whatever comes.
    pub fn swallow(&mut self) -> Option<()> {
        while self.stream.read(&mut [0; 16 * 1024]).ok()? > 0 {}
        None
    }
}

impl Answer {
    fn new(version: ProtocolVersion) -> Self {
        Self { version, bytes: Bytes(Vec::new()) }
    }

    /// Adds a packet.
    pub fn put(&mut self, packet: &Packet<'_>) {
        packet.encode(self.version, &mut self.bytes).expect("a packet that can be encoded");
    }

    /// What a broker answers that takes everything and has nothing to say.
    pub fn politely(&mut self, packet: &Packet<'_>) {
        let (reason, properties) = (ReasonCode::Success, Properties::EMPTY);
        match packet {
            Packet::Subscribe(subscribe) => {
                let reasons: Vec<_> =
                    subscribe.filters.iter().map(|filter| granted(filter.options.qos)).collect();
                let packet_id = subscribe.packet_id;
                let reasons = ReasonCodes::List(&reasons);
                self.put(&Packet::SubAck(SubAck { packet_id, properties, reasons }));
            }
            Packet::Publish(Publish { qos, packet_id: Some(packet_id), .. }) => {
                let packet_id = *packet_id;
                self.put(&match qos {
                    QoS::ExactlyOnce => Packet::PubRec(PubRec { packet_id, reason, properties }),
                    _ => Packet::PubAck(PubAck { packet_id, reason, properties }),
                });
            }
            Packet::PubRel(release) => {
                let packet_id = release.packet_id;
                self.put(&Packet::PubComp(PubComp { packet_id, reason, properties }));
            }
            Packet::PingReq => self.put(&Packet::PingResp),
            _ => {}
        }
    }
}

fn granted(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success,
        QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
        QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
    }
}
