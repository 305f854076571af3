//! A network between a program and its server, which can be made to fail.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the network does with what is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Network {
    Passes,
    /// Each piece so much later.
    Slow(Duration),
    /// Nothing arrives, in either direction, and nobody is told.
    Swallows,
    /// Connections up to this number are dead without a word, later ones work: a NAT has forgotten them.
    ForgotTo(u64),
    /// Connections up to this number are reset, later ones work.
    ResetTo(u64),
    /// Connections are reset and none is accepted.
    Down,
    /// The next piece for the server that has this text in it ends its connection; from then on all passes.
    Cut(&'static str, Cut),
}

/// How the piece ends it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    /// It does not arrive.
    Before,
    /// It does not arrive, and the server does not hear that the connection has ended.
    Held,
    /// It arrives, and the connection is reset at once.
    Under,
    /// It arrives and is answered; the answer does not.
    Behind,
}

/// A TCP proxy in front of a port of this machine.
pub struct Proxy {
    pub port: u16,
    network: Arc<watch::Sender<Network>>,
    made: Arc<watch::Sender<u64>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub async fn start(server: u16) -> Self {
        Self::at("127.0.0.1:0", server).await
    }

    /// One that listens there.
    pub async fn at(address: &str, server: u16) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let network = Arc::new(watch::Sender::new(Network::Passes));
        let made = Arc::new(watch::Sender::new(0));
        let (state, count): (Arc<watch::Sender<Network>>, _) = (network.clone(), made.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let number = *count.borrow();
                tokio::spawn(carry(client, server, number, state.clone()));
            }
        });
        Proxy { port, network, made, task }
    }

    pub fn is_now(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// Returns when a connection was [cut](Network::Cut).
    pub async fn is_cut(&self) {
        let mut network = self.network.subscribe();
        let passes = network.wait_for(|network| *network == Network::Passes);
        passes.await.expect("this proxy changes it");
    }

    /// How many connections were made through it.
    pub fn made(&self) -> u64 {
        *self.made.borrow()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends a connection by RST.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

async fn carry(client: TcpStream, server: u16, number: u64, state: Arc<watch::Sender<Network>>) {
    let network = state.subscribe();
    if *network.borrow() == Network::Down {
        return reset(&client);
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
        return reset(&client);
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mut broken = network.clone();
    let is_reset = broken.wait_for(|network| match network {
        Network::ResetTo(last) => number <= *last,
        Network::Down => true,
        _ => false,
    });
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (there, back) = ((number, network.clone()), (number, network));
    let cut = watch::Sender::new(None);
    let (cuts, mut was_cut) = (Cutter { state, cut: &cut }, cut.subscribe());
    let both = async {
        tokio::try_join!(
            pump(&mut from_client, &mut to_server, there, Way::There(&cuts)),
            pump(&mut from_server, &mut to_client, back, Way::Back(&cuts)),
        )
    };
    // What is cut behind its answer goes on until then.
    let is_cut = was_cut.wait_for(|cut| cut.is_some_and(|(_, how)| how != Cut::Behind));
    let was_reset = tokio::select! {
        _ = is_reset => true,
        _ = is_cut => true,
        ended = both => ended.is_err(),
    };
    if was_reset && let Ok(client) = from_client.reunite(to_client) {
        reset(&client);
    }
    if matches!(*cut.borrow(), Some((_, Cut::Held))) {
        // Its half of the connection stays open that long.
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
}

/// Ends the connection of which a piece has the text of [`Network::Cut`].
struct Cutter<'a> {
    state: Arc<watch::Sender<Network>>,
    cut: &'a watch::Sender<Option<(&'static str, Cut)>>,
}

impl Cutter<'_> {
    /// How this piece, on its way to the server, ends the connection, if it does.
    fn takes(&self, piece: &[u8]) -> Option<Cut> {
        let Network::Cut(text, how) = *self.state.borrow() else { return None };
        if !has(piece, text) {
            return None;
        }
        // Before it is sent: the answer may come at once.
        self.cut.send_replace(Some((text, how)));
        Some(how)
    }

    /// Whether this piece of the server has the answer that is not to arrive: that the text is done, by its name.
    fn keeps_back(&self, piece: &[u8]) -> bool {
        let cut = *self.cut.borrow();
        cut.is_some_and(|(text, how)| {
            how == Cut::Behind && has(piece, text.trim_start_matches([';', ' ']))
        })
    }
}

/// The direction of a [`pump`].
enum Way<'a> {
    There(&'a Cutter<'a>),
    Back(&'a Cutter<'a>),
}

fn has(piece: &[u8], text: &str) -> bool {
    text.is_empty() || piece.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Carries one direction to its end. An error is that of a side that was reset: the other one has to hear of it, or it waits
/// for an answer that never comes.
async fn pump(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    (number, mut network): (u64, watch::Receiver<Network>),
    way: Way<'_>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await;
        // What has vanished arrives when the network is back, by TCP's repetition.
        let passes = |network: &Network| match network {
            Network::Swallows => false,
            Network::ForgotTo(last) => number > *last,
            _ => true,
        };
        if network.wait_for(passes).await.is_err() {
            return Ok(());
        }
        let piece = &buffer[..read?];
        let state = *network.borrow();
        if let Network::Slow(delay) = state {
            tokio::time::sleep(delay).await;
        }
        if piece.is_empty() {
            return to.shutdown().await;
        }
        let cut = match &way {
            Way::There(cutter) => cutter.takes(piece),
            Way::Back(cutter) if cutter.keeps_back(piece) => {
                return Err(std::io::ErrorKind::ConnectionReset.into());
            }
            Way::Back(_) => None,
        };
        if !matches!(cut, Some(Cut::Before | Cut::Held)) {
            to.write_all(piece).await?;
        }
        if let (Some(_), Way::There(cutter)) = (cut, &way) {
            cutter.state.send_replace(Network::Passes);
            return std::future::pending().await;
        }
    }
}
