/** Data as it is. It is text, whatever it holds: React never makes markup of it. */
export function JsonView({ data, label }: { data: unknown; label: string }) {
  return (
    <pre className="json" tabIndex={0} aria-label={label}>
      {JSON.stringify(data, null, 2)}
    </pre>
  );
}
