/** A line or bar chart over time, by uPlot; what it shows is said in words as well. */

import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useTheme } from "../data/theme";
import { clock, day } from "../data/words";

const DAY_S = 86_400;

export type Line = { name: string; colour: string; values: (number | null)[]; unit: string };

function worded(value: number | null, unit: string): string {
  return value === null ? "–" : `${Math.round(value * 100) / 100} ${unit}`;
}

export default function Chart({
  times,
  lines,
  bars = false,
  label,
}: {
  times: number[];
  lines: Line[];
  bars?: boolean;
  label: string;
}) {
  const box = useRef<HTMLDivElement>(null);
  const [theme] = useTheme();
  // biome-ignore lint/correctness/useExhaustiveDependencies: it takes its colours from the theme's style
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    const axis = {
      stroke: colour("--muted"),
      font: "12px Inter",
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
    };
    const step = ((times[1] ?? 0) - (times[0] ?? 0)) / 1000;
    const edge = bars ? step / 2 : 0;
    const when = (at: number) => (step >= DAY_S ? day(at * 1000) : clock(at * 1000).slice(0, 5));
    const named = (at: number) => (at * 1000 < (times[0] ?? 0) ? "" : when(at)); // left of the first bar is no day of it
    const options: uPlot.Options = {
      width: element.clientWidth,
      height: 220,
      cursor: { y: false },
      scales: {
        x: { range: (_, least, most) => [least - edge, most + edge] },
        y: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] },
      },
      axes: [
        { ...axis, grid: { show: false }, values: (_, places) => places.map(named), size: 32 },
        { ...axis, size: 44 },
      ],
      series: [
        { value: (_, at) => (at === null ? "" : when(at)) },
        ...lines.map(
          (line): uPlot.Series => ({
            label: line.name,
            stroke: colour(line.colour),
            fill: `color-mix(in srgb, ${colour(line.colour)} ${bars ? 70 : 12}%, transparent)`,
            width: bars ? 0 : 2,
            points: { show: false },
            // Where nobody points at it: the latest.
            value: (_, value, __, at) => worded(at == null ? (line.values.at(-1) ?? null) : value, line.unit),
            ...(bars && uPlot.paths.bars ? { paths: uPlot.paths.bars({ size: [0.62, 48], radius: 0.18 }) } : {}),
          }),
        ),
      ],
    };
    const plot = new uPlot(options, [times.map((ms) => ms / 1000), ...lines.map((line) => line.values)], element);
    const seen = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: 220 }));
    seen.observe(element);
    return () => {
      seen.disconnect();
      plot.destroy();
    };
  }, [times, lines, bars, theme]);
  return <div className="chart" ref={box} role="img" aria-label={label} />;
}
