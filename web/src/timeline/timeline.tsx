/** The picture of a session. By keyboard it is a slider: its arrows go from mark to mark, and each is read out. */

import { type KeyboardEvent, useEffect, useMemo, useRef, useState } from "react";
import { clock, seconds } from "../data/words";
import { type Kind, type Mark, type Picture, ticks } from "./model";

const LANE = 34;
const TOP = 8;
const AXIS = 30;

const LEGEND: readonly (readonly [Kind, string])[] = [
  ["queued", "Queued"],
  ["starting", "Starting"],
  ["running", "Running, billed, delivered"],
  ["ending", "Ending"],
  ["stall", "Stalled or pending"],
  ["problem", "Lost or failed"],
];

export function Legend() {
  return (
    <div className="legend" aria-hidden="true">
      {LEGEND.map(([kind, text]) => (
        <span key={kind}>
          <svg viewBox="0 0 9 9" aria-hidden="true">
            <rect width="9" height="9" rx="2.5" className={`k-${kind}`} />
          </svg>
          {text}
        </span>
      ))}
    </div>
  );
}

function useWidth() {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(800);
  useEffect(() => {
    const seen = new ResizeObserver(([entry]) => entry && setWidth(Math.max(280, entry.contentRect.width)));
    if (box.current) seen.observe(box.current);
    return () => seen.disconnect();
  }, []);
  return [box, width] as const;
}

/** `onChosen`: the key of the event that is looked at. */
export function Timeline({ picture, onChosen }: { picture: Picture; onChosen: (key: string) => void }) {
  const [box, width] = useWidth();
  const [chosen, setChosen] = useState<Mark | null>(null);
  const lanes = picture.lanes.filter((lane) => lane.marks.length || lane.name !== "Audio");
  const left = width < 560 ? 88 : 104;
  const height = TOP + lanes.length * LANE + AXIS;
  const span = picture.to - picture.from;
  const x = (time: number) => left + ((Math.min(time, picture.to) - picture.from) / span) * (width - left - 18);

  const marks = picture.marks;
  const now = chosen && (marks.find((each) => same(each, chosen)) ?? null);
  const at = now ? marks.indexOf(now) : -1;

  const choose = (mark: Mark | undefined) => {
    if (!mark) return;
    setChosen(mark);
    onChosen(mark.key);
  };
  const byKey = (event: KeyboardEvent) => {
    const to = { ArrowRight: at + 1, ArrowLeft: Math.max(0, at - 1), Home: 0, End: marks.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(marks[Math.min(to, marks.length - 1)]);
  };

  return (
    <div className="timeline" ref={box}>
      <div
        className="walk"
        role="slider"
        tabIndex={0}
        aria-label="Timeline: arrow keys go from mark to mark"
        aria-valuemin={0}
        aria-valuemax={Math.max(0, marks.length - 1)}
        aria-valuenow={Math.max(0, at)}
        aria-valuetext={now ? told(now) : `${marks.length} marks`}
        onKeyDown={byKey}
      >
        <svg viewBox={`0 0 ${width} ${height}`} height={height} aria-hidden="true">
          <Axis from={left} x={(ms) => x(picture.from + ms)} span={span} height={height} />
          {lanes.map((lane, n) => {
            const middle = TOP + n * LANE + LANE / 2;
            return (
              <g key={lane.name}>
                <line className="lane" x1={left} x2={width - 18} y1={middle} y2={middle} />
                <text x={14} y={middle + 4}>
                  {lane.name}
                </text>
                {lane.name === "Usage" && <Chain marks={lane.marks} x={x} y={middle} />}
                {lane.marks.map((mark) => (
                  <Shape
                    key={`${mark.key}${mark.kind}${mark.from}`}
                    mark={mark}
                    x={x}
                    y={middle}
                    chosen={mark === now}
                    onChoose={choose}
                  />
                ))}
              </g>
            );
          })}
          {now && <line className="cursor" x1={x(now.from)} x2={x(now.from)} y1={TOP} y2={height - AXIS + 4} />}
        </svg>
      </div>
      <div className="readout" aria-hidden="true">
        {now ? (
          <>
            <strong>{now.label}</strong>
            <span className="mono">{clock(now.from, true)}</span>
            <span className="muted">+{seconds(now.from - picture.from)}</span>
            <span>{now.detail}</span>
          </>
        ) : (
          <span className="muted">Point at a mark, or walk through them with the arrow keys.</span>
        )}
      </div>
    </div>
  );
}

function same(a: Mark, b: Mark): boolean {
  return a.lane === b.lane && a.from === b.from && a.label === b.label;
}

function told(mark: Mark): string {
  return `${clock(mark.from)}: ${mark.label}. ${mark.detail}`;
}

function Axis({ from, x, span, height }: { from: number; x: (ms: number) => number; span: number; height: number }) {
  return (
    <g>
      {ticks(span).map((ms) => (
        <g key={ms}>
          <line className="lane" x1={x(ms)} x2={x(ms)} y1={TOP} y2={height - AXIS + 6} />
          <text x={x(ms)} y={height - 9} textAnchor={x(ms) - from < 8 ? "start" : "middle"}>
            {ms === 0 ? "0" : seconds(ms)}
          </text>
        </g>
      ))}
    </g>
  );
}

/** From entry to entry: each has the hash of the one before. */
function Chain({ marks, x, y }: { marks: Mark[]; x: (time: number) => number; y: number }) {
  const path = useMemo(() => {
    const centres = marks.map((mark) => x(mark.to === null ? mark.from : (mark.from + mark.to) / 2));
    return centres
      .slice(1)
      .map((to, n) => `M${centres[n]} ${y - 7}Q${((centres[n] ?? to) + to) / 2} ${y - 15} ${to} ${y - 7}`);
  }, [marks, x, y]);
  return <path className="chain" d={path.join("")} />;
}

function Shape({
  mark,
  x,
  y,
  chosen,
  onChoose,
}: {
  mark: Mark;
  x: (time: number) => number;
  y: number;
  chosen: boolean;
  onChoose: (mark: Mark) => void;
}) {
  const from = x(mark.from);
  const props = {
    className: `k-${mark.kind}${chosen ? " chosen" : ""}`,
    onPointerEnter: () => onChoose(mark),
    onClick: () => onChoose(mark),
  };
  if (mark.to !== null) {
    const width = Math.max(3, x(mark.to) - from - 1);
    const tall = mark.lane === "Usage" ? 12 : 18;
    return (
      <g>
        <rect x={from} y={y - tall / 2} width={width} height={tall} rx={Math.min(5, width / 2)} {...props} />
        {width > 90 && mark.lane === "Phase" && (
          <text className="inside" x={from + 9} y={y + 4} pointerEvents="none">
            {mark.label}
          </text>
        )}
      </g>
    );
  }
  if (mark.lane === "Heartbeats")
    return <rect x={from - 1.25} y={y - 8} width={2.5} height={16} rx={1.25} {...props} />;
  if (mark.lane === "Webhooks") return <path d={`M${from} ${y - 7}l7 7-7 7-7-7z`} {...props} />;
  return <circle cx={from} cy={y} r={5.5} {...props} />;
}
