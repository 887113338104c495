"""A simulator: the rules of log, roster, lease and supervisor, in one process, on simulated time.

    python -m tests.simulation 42            the story of seed 42: what went wrong, what was done about it
    make simulate SEEDS=10000                many seeds; those that break a promise are named
    python -m tests.simulation --broken      breaks each rule of `broken.py`, and says which seed finds it

A seed makes a story: two or three machines with workers, one or two rosters, an API, up to three sessions, half a
minute to two of them, and up to eight faults. The same seed is the same story, step by step.

**The product's own code** runs: the fold (`events/sessions.py`, `session_state.py`, `metering.py`), `Roster` with its
decisions, `Directory`, `Presence`, `Dispatch`, `Settling`; `Supervisor`, `HeldAttempt`, `EventAppender`, `WarmPool`,
`Child`, `Reporter`, the lease, the watch's rule, the timers in between. Each process has an event loop of its own that
stands still under SIGSTOP and is gone after SIGKILL, and a wall clock that may be wrong.

**Models** stand for what is not ours, or takes too long:

| file | in the place of |
| --- | --- |
| `timeline.py` | time, event loops, processes |
| `broker.py` | Kafka, `EventProducer`, `AIOKafkaConsumer`: unknown outcomes, late appends, records that come twice |
| `database.py` | PostgreSQL, and the SQL of `store/slots.py`, `workers.py`, `admissions.py`, function by function |
| `rosters.py` | `LogConsumer` and `FoldingHandler`: groups, generations, fenced checkpoints |
| `machines.py` | process starts, the witness |
| `children.py` | pipes, the room, and what a session process plays |
| `customers.py` | the API: creates and ends, in the order of `api/admission.py` and `api/ending.py` |
| `patches.py` | clocks, chance, cryptography, the logs |

**Faults** (`faults.py`): a worker, a session process, a machine, a roster or the API is paused, killed or cut off;
Kafka or the database is away, slow, or forgets to answer; acknowledgements come late; sessions are ended at the wrong
moment; rosters lag, rebalance, lose a batch. At a time, or right after an event of the session that it is to hurt.

**Promises** (`promises.py`) are looked at after every record, burial, task and start, and at the end:

| promise | what is looked at |
| --- | --- |
| I1 | what a customer was told of is in the log, and is not hidden |
| I2 | one entry for each reading; a replay, and the roster's stored states, are what was folded |
| I3 | the bill: after a first frame, within the log's time, no more than was played, nothing twice |
| I4 | only the accepted attempt's word counts, only decisions on the latest state, nothing after the end |
| I5 | sequence numbers have no gaps |
| I8 | every session, admission and slot is over once the faults and the deadlines are |
| one worker | an attempt's task goes to one worker, and only when the log has accepted it |
| once | a supervisor begins an attempt once, and not after its end |
| lease | nobody is declared lost while its lease is valid; nothing begins without a valid one |
| gone | who was declared lost exits when it sees Kafka again |
| no crash | no process ends by an exception that is not Kafka's, or a child that cannot start |

Not simulated: locks of the database (each of its transactions is alone), a log that loses its tail, LiveKit, the media,
the other projections, retries of a create under the same idempotency key.
"""
