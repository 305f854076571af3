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
    let (there, back) = (network.clone(), network);
    let cut = watch::Sender::new(None);
    let (cuts, mut was_cut) = (Cutter { state, cut: &cut }, cut.subscribe());
    let both = async {
        tokio::join!(
            pump(&mut from_client, &mut to_server, number, there, Some(&cuts)),
            pump(&mut from_server, &mut to_client, number, back, None),
        )
    };
    let is_cut = was_cut.wait_for(Option::is_some);
    let was_reset = tokio::select! {
        _ = is_reset => true,
        _ = is_cut => true,
        _ = both => false,
    };
    let how = *cut.borrow();
    if let Some((text, Cut::Behind)) = how {
        // Until the server has said that this is done, by its name.
        let done = text.trim_start_matches([';', ' ']);
        let mut piece = [0; 1024];
        while let Ok(read @ 1..) = from_server.read(&mut piece).await {
            if has(&piece[..read], done) || to_client.write_all(&piece[..read]).await.is_err() {
                break;
            }
        }
    }
    if was_reset && let Ok(client) = from_client.reunite(to_client) {
        reset(&client);
    }
    if matches!(how, Some((_, Cut::Held))) {
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
    /// How this piece ends the connection, if it does.
    fn takes(&self, piece: &[u8]) -> Option<(&'static str, Cut)> {
        let Network::Cut(text, cut) = *self.state.borrow() else { return None };
        has(piece, text).then_some((text, cut))
    }
}

fn has(piece: &[u8], text: &str) -> bool {
    text.is_empty() || piece.windows(text.len()).any(|part| part == text.as_bytes())
}

async fn pump(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    number: u64,
    mut network: watch::Receiver<Network>,
    cutter: Option<&Cutter<'_>>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        // What has vanished arrives when the network is back, by TCP's repetition.
        let passes = |network: &Network| match network {
            Network::Swallows => false,
            Network::ForgotTo(last) => number > *last,
            _ => true,
        };
        if network.wait_for(passes).await.is_err() {
            return;
        }
        let state = *network.borrow();
        if let Network::Slow(delay) = state {
            tokio::time::sleep(delay).await;
        }
        if read == 0 {
            let _ = to.shutdown().await;
            return;
        }
        let cut = cutter.and_then(|cutter| cutter.takes(&buffer[..read]));
        if !matches!(cut, Some((_, Cut::Before | Cut::Held)))
            && to.write_all(&buffer[..read]).await.is_err()
        {
            return;
        }
        if let (Some(cut), Some(cutter)) = (cut, cutter) {
            cutter.cut.send_replace(Some(cut));
            cutter.state.send_replace(Network::Passes);
            return std::future::pending().await;
        }
    }
}
