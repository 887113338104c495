/** Line icons, drawn in a box of 20. They say nothing by themselves: what they stand for is beside them, or in a label. */

const PATHS = {
  sessions: "M3 5.5h14M3 10h14M3 14.5h9",
  talk: "M10 3a2.5 2.5 0 0 1 2.5 2.5v4a2.5 2.5 0 0 1-5 0v-4A2.5 2.5 0 0 1 10 3zM5 9.5a5 5 0 0 0 10 0M10 14.5V17",
  avatars: "M10 10.2a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4zM3.8 17c.7-3 3.2-4.5 6.2-4.5s5.5 1.5 6.2 4.5",
  webhooks:
    "M8 6.5a2.5 2.5 0 1 1 4 2l2.3 4M5.7 12.5a2.5 2.5 0 1 0 2.8 2.7H14M9.8 8.8l-2.6 4.5M14 12.7a2.5 2.5 0 1 1-1.5 4.5",
  usage: "M4 16.5V11M8 16.5V6M12 16.5v-7M16 16.5V3.5",
  search: "M9 15a6 6 0 1 0 0-12 6 6 0 0 0 0 12zM13.5 13.5 17 17",
  sun: "M10 13.2a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M4.3 15.7l1.1-1.1M14.6 5.4l1.1-1.1",
  moon: "M16.5 12A7 7 0 0 1 8 3.5a7 7 0 1 0 8.5 8.5z",
  leave: "M8 3.5H4.5v13H8M12 6.5 15.5 10 12 13.5M15 10H7.5",
  copy: "M7.5 7.5h8v8h-8zM5 12.5h-.5v-8h8V5",
  check: "M4 10.5l4 4 8-9",
  cross: "M5 5l10 10M15 5 5 15",
  warn: "M10 3.5 17.5 16.5h-15zM10 8.5v3.5M10 14.2v.1",
  back: "M12 4.5 6.5 10l5.5 5.5",
  stop: "M5.5 5.5h9v9h-9z",
  play: "M6.5 4.5v11l9-5.5z",
  video: "M3 6h9v8H3zM12 9l5-2.5v7L12 11",
  shield: "M10 2.8l6 2.2v4.5c0 4-2.6 6.6-6 7.7-3.4-1.1-6-3.7-6-7.7V5zM7.3 10l2 2 3.5-3.8",
  upload: "M10 13V3.5M6 7.5l4-4 4 4M3.5 13v3.5h13V13",
  plus: "M10 4v12M4 10h12",
  refresh: "M16 6.5A7 7 0 1 0 17 10M16.5 3v4h-4",
  down: "M10 3.5V13M6 9l4 4 4-4M3.5 16.5h13",
  chain: "M8.5 11.5l3-3M7 9.5l-2 2a2.8 2.8 0 0 0 4 4l2-2M13 10.5l2-2a2.8 2.8 0 0 0-4-4l-2 2",
  trash: "M4 6h12M8 6V4h4v2M5.5 6l.7 10.5h7.6L14.5 6",
  file: "M5.5 2.5h6l3.5 3.5v11.5h-9.5zM11 2.5V6.5h4",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 20 20"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.6"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
