//! The MD5 of every file of a directory tree, with bounded parallelism: one goroutine walks the
//! tree, several read and digest. The first error, or the end of the context, ends all of them. Go:
//! "Pipelines and cancellation".

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{fs, io};

use gopark::chan::{self, Receiver};
use gopark::context::{Context, ContextError};
use gopark::sync::ErrGroup;
use gopark::{block_on, gosched, num_goroutine, unblock};
use md5::{Digest, Md5};

const DIGESTERS: usize = 8;
type Sum = (PathBuf, [u8; 16]);
type AnyError = Box<dyn Error + Send + Sync>;

/// Returns the directories and the files in `dir`.
fn list(dir: &Path) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut dirs, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir)? {
        let (entry, kind) = entry.and_then(|entry| entry.file_type().map(|kind| (entry, kind)))?;
        match (kind.is_dir(), kind.is_file()) {
            (true, _) => dirs.push(entry.path()),
            (_, true) => files.push(entry.path()),
            _ => {}
        }
    }
    Ok((dirs, files))
}

fn sum(path: PathBuf) -> io::Result<Sum> {
    let digest = Md5::digest(fs::read(&path)?);
    Ok((path, digest.into()))
}

/// The pipeline: the channel has the sums as they are ready; the group's wait says whether they are
/// all.
async fn sums(ctx: &Context, mut dirs: Vec<PathBuf>) -> (Receiver<Sum>, ErrGroup<AnyError>) {
    let (group, ctx) = ErrGroup::with_context(ctx);
    let ((found, paths), (tx, sums)) = (chan::unbuffered(), chan::unbuffered());
    let walk = ctx.clone();
    let walker = async move {
        while let Some(dir) = dirs.pop() {
            let (inside, files) = unblock(move || list(&dir)).await?;
            dirs.extend(inside);
            for path in files {
                walk.run(found.send(path)).await??;
            }
        }
        Ok(()) // drops `found`: there are no more paths
    };
    group.go(walker).await;
    for _ in 0..DIGESTERS {
        let (ctx, paths, tx) = (ctx.clone(), paths.clone(), tx.clone());
        let digester = async move {
            while let Some(path) = ctx.run(paths.recv()).await? {
                let sum = unblock(move || sum(path)).await?;
                ctx.run(tx.send(sum)).await??;
            }
            Ok(())
        };
        group.go(digester).await;
    }
    (sums, group)
}

async fn all_sums(
    ctx: &Context,
    dirs: Vec<PathBuf>,
) -> Result<BTreeMap<PathBuf, [u8; 16]>, AnyError> {
    let (sums, group) = sums(ctx, dirs).await;
    let mut all = BTreeMap::new();
    while let Some((path, sum)) = sums.recv().await {
        all.insert(path, sum);
    }
    group.wait().await.map(|()| all)
}

/// The same without gopark.
fn one_by_one(dir: &Path, all: &mut BTreeMap<PathBuf, [u8; 16]>) -> io::Result<()> {
    let (dirs, files) = list(dir)?;
    for path in files {
        all.extend([sum(path)?]);
    }
    dirs.iter().try_for_each(|dir| one_by_one(dir, all))
}

fn main() -> io::Result<()> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src");
    let mut expected = BTreeMap::new();
    one_by_one(&src, &mut expected)?;
    block_on(async {
        let background = Context::background();
        let all = all_sums(&background, vec![src.clone()]).await.expect("readable");
        all.iter().take(3).for_each(|(path, sum)| {
            println!("{:032x}  {}", u128::from_be_bytes(*sum), path.display())
        });
        println!("and {} more", all.len() - 3);
        assert_eq!(all, expected);

        // One error, here that of the walker after `src`, ends the other goroutines, and is the
        // result.
        let error =
            all_sums(&background, vec![src.join("nowhere"), src.clone()]).await.unwrap_err();
        println!("{error}");
        assert_eq!(
            error.downcast_ref::<io::Error>().map(io::Error::kind),
            Some(io::ErrorKind::NotFound)
        );

        // Cancelled in the middle.
        let (ctx, cancel) = background.with_cancel();
        let (sums, group) = sums(&ctx, vec![src]).await;
        for _ in 0..3 {
            assert!(sums.recv().await.is_some_and(|(path, sum)| expected[&path] == sum));
        }
        cancel.cancel();
        let error = group.wait().await.unwrap_err();
        assert!(error.is::<ContextError>());
        while num_goroutine() > 1 {
            gosched().await; // goroutines that have just ended may still be counted
        }
        println!("after three: {error}, and nobody is left");
    });
    Ok(())
}
