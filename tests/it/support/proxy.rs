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
        let (state, count) = (network.clone(), made.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let number = *count.borrow();
                tokio::spawn(carry(client, server, number, state.subscribe()));
            }
        });
        Proxy { port, network, made, task }
    }

    pub fn is_now(&self, network: Network) {
        self.network.send_replace(network);
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

async fn carry(client: TcpStream, server: u16, number: u64, network: watch::Receiver<Network>) {
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
    let both = async {
        tokio::join!(
            pump(&mut from_client, &mut to_server, number, there),
            pump(&mut from_server, &mut to_client, number, back),
        )
    };
    let was_reset = tokio::select! {
        _ = is_reset => true,
        _ = both => false,
    };
    if was_reset && let Ok(client) = from_client.reunite(to_client) {
        reset(&client);
    }
}

async fn pump(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    number: u64,
    mut network: watch::Receiver<Network>,
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
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
