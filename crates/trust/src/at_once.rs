//! Work on several things at once.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Most threads.
const THREADS_MAX: usize = 4;

/// Does `work` with all items, on at most so many threads, and gives the results in order, or the first error. After an
/// error nothing else is begun.
pub(crate) fn at_once<T: Sync, R: Send, E: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads.min(processors).min(THREADS_MAX).min(items.len());
    if threads <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else { return done };
            let result = work(item);
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            done.push((number, result));
        }
    };
    let mut done = thread::scope(|scope| {
        // Where there are no more threads to be had, there are fewer.
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, worker).ok();
        let others: Vec<_> = (1..threads).filter_map(spawn).collect();
        let mut done = worker();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn results_come_in_order_and_the_first_error_counts() {
        let items: Vec<usize> = (0..100).collect();
        let double = |n: &usize| Ok::<_, ()>(n * 2);
        let doubled: Vec<usize> = items.iter().map(|n| n * 2).collect();
        for threads in [0, 1, 3, 1000] {
            assert_eq!(at_once(&items, threads, double).unwrap(), doubled);
            let fails = |n: &usize| if *n == 40 { Err(*n) } else { Ok(()) };
            assert_eq!(at_once(&items, threads, fails), Err(40));
        }
        assert_eq!(at_once(&[], 4, double), Ok(Vec::new()));
    }

    #[test]
    fn two_are_at_work_at_once_where_there_are_processors() {
        if thread::available_parallelism().map_or(1, NonZero::get) < 2 {
            return; // there is nothing to see
        }
        let both = Barrier::new(2); // one alone would wait for ever
        at_once(&[1, 2], 2, |_| Ok::<_, ()>(both.wait().is_leader())).unwrap();
    }
}
