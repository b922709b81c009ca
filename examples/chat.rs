//! A chat room: each message goes to all other members. One goroutine owns the list of members, so
//! there is no lock: joining, leaving and speaking are messages to it. It does not wait for a
//! member who does not read, but removes them.

use std::collections::BTreeMap;

use gopark::chan::{self, Receiver, Sender};
use gopark::{block_on, go, select};

type Name = &'static str;

struct Room {
    join: Sender<(Name, Sender<String>)>,
    leave: Sender<Name>,
    say: Sender<(Name, String)>,
}
impl Room {
    fn open() -> Self {
        let ((join, joins), (leave, leaves)) = (chan::unbuffered(), chan::unbuffered());
        let (say, words) = chan::unbuffered();
        go(host(joins, leaves, words));
        Self { join, leave, say }
    }

    async fn enter(&self, name: Name, room_for: usize) -> Receiver<String> {
        let (tx, rx) = chan::bounded(room_for);
        self.join.send((name, tx)).await.unwrap();
        rx
    }

    async fn say(&self, name: Name, text: &str) {
        self.say.send((name, text.to_owned())).await.unwrap();
    }
}

async fn host(
    joins: Receiver<(Name, Sender<String>)>,
    leaves: Receiver<Name>,
    words: Receiver<(Name, String)>,
) {
    let mut members = BTreeMap::<Name, Sender<String>>::new();
    loop {
        let (who, line) = select! {
            joined = joins.recv() => {
                let Some((name, tx)) = joined else { return };
                members.insert(name, tx);
                (name, format!("* {name} is here"))
            }
            left = leaves.recv() => {
                let Some(name) = left else { return };
                members.remove(name); // its channel closes
                (name, format!("* {name} has gone"))
            }
            said = words.recv() => {
                let Some((name, text)) = said else { return };
                (name, format!("{name}: {text}"))
            }
        };
        members.retain(|name, tx| *name == who || tx.try_send(line.clone()).is_ok());
    }
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let room = Room::open();
    let ann = room.enter("Ann", 4).await;
    let joe = room.enter("Joe", 4).await;
    let asleep = room.enter("Sue", 2).await; // does not read
    room.say("Ann", "hello").await;
    room.say("Joe", "hi Ann").await;
    room.leave.send("Joe").await.unwrap();
    drop(room); // the last handle: the room closes
    let mut heard = Vec::new();
    while let Some(line) = ann.recv().await {
        println!("Ann hears {line}");
        heard.push(line);
    }
    assert_eq!(heard, ["* Joe is here", "* Sue is here", "Joe: hi Ann", "* Joe has gone"]);
    assert_eq!(
        (joe.recv().await, joe.recv().await),
        (Some("* Sue is here".into()), Some("Ann: hello".into()))
    );
    assert_eq!((joe.recv().await, asleep.recv().await), (None, Some("Ann: hello".into())));
    assert_eq!(
        (asleep.len(), asleep.is_closed()),
        (1, true),
        "there was no room for the third line"
    );
}
