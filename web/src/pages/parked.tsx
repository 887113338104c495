import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { askParked, type Look, look, type Parked } from "../data/operator";
import { client } from "../data/queries";
import { count, short } from "../data/words";
import { Card, Copy, Empty, Problem, Sure } from "../parts/basic";
import { Icon } from "../parts/icon";

/** As many as one request of `/console/operator/parked` asks for. */
const AT_ONCE = 10_000;

/** `subject` null: all that is parked. */
type Wanted = { subject: string | null };

/** What consumers have left alone, and its way back. */
export function ParkedCard({ look: { parked, parked_count: all } }: { look: Look }) {
  const [asking, setAsking] = useState<Wanted | null>(null);
  // Those that were asked for by this page: whoever is still here after the answer could not be read.
  const [tried, setTried] = useState<ReadonlySet<string>>(new Set());
  const retry = useMutation({
    mutationFn: ({ subject }: Wanted) => askParked(subject),
    onSuccess: async (_, { subject }) => {
      setAsking(null);
      await client.invalidateQueries({ queryKey: look.queryKey, exact: true });
      setTried(new Set([...tried, ...(subject === null ? parked.map((each) => each.subject) : [subject])]));
    },
  });
  const ofAll = all > AT_ONCE ? `${count(AT_ONCE)} of ${count(all)}` : `all ${count(all)}`;
  const close = () => {
    retry.reset();
    setAsking(null);
  };
  return (
    <Card
      title="Parked"
      flush
      actions={
        all > 1 && (
          <button type="button" className="button tiny" onClick={() => setAsking({ subject: null })}>
            <Icon name="refresh" size={14} /> Read all again
          </button>
        )
      }
    >
      {parked.length === 0 ? (
        <Empty icon="check" title="Nothing is parked">
          <p>Sessions and avatars with an event that only a newer version can read stand here.</p>
        </Empty>
      ) : (
        <ul className="lines">
          {parked.map((each) => (
            <ParkedLine
              key={`${each.consumer} ${each.subject}`}
              parked={each}
              tried={tried.has(each.subject)}
              onAgain={() => setAsking({ subject: each.subject })}
            />
          ))}
        </ul>
      )}
      {all > parked.length && (
        <div className="footnote">
          <span className="num">
            {count(parked.length)} of {count(all)}; <code>greenroom parked list</code> names them all
          </span>
        </div>
      )}
      {asking && (
        <Sure
          title={asking.subject === null ? `Read ${ofAll} again?` : "Read it again?"}
          verb="Read again"
          keep="Leave it"
          busy={retry.isPending}
          onYes={() => retry.mutate(asking)}
          onNo={close}
        >
          {asking.subject !== null && <code>{asking.subject}</code>} Its projections read it from where it was parked,
          in the log's order, while all else goes on. What they still cannot read stays parked: nothing is lost by it.
          {retry.error && <Problem failed={retry.error} />}
        </Sure>
      )}
    </Card>
  );
}

function ParkedLine({ parked, tried, onAgain }: { parked: Parked; tried: boolean; onAgain: () => void }) {
  return (
    <li>
      <div>
        <Copy text={parked.subject} shown={short(parked.subject)} />
        <div className="small muted">
          {parked.consumer}: {parked.reason}
        </div>
        <div className="small" role="status">
          {parked.asked
            ? "It is being read again. If that takes long: does its process run?"
            : tried && "It was read again, and still cannot be: that takes a newer version."}
        </div>
      </div>
      <button type="button" className="button tiny" onClick={onAgain} disabled={parked.asked}>
        Read again
      </button>
    </li>
  );
}
