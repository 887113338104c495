import { useMutation, useQuery } from "@tanstack/react-query";
import { type DragEvent, type FormEvent, type MouseEvent, useEffect, useState } from "react";
import { type Avatar, api, type Me, may, taken } from "../data/api";
import { avatars, client, quota } from "../data/queries";
import { count } from "../data/words";
import { Badge, Copy, Dialog, Empty, Head, Loading, Problem, Sure, Time } from "../parts/basic";
import { Face } from "../parts/face";
import { Icon } from "../parts/icon";

const PLACES = [
  ["eye_left", "the left eye"],
  ["eye_right", "the right eye"],
  ["mouth_left", "the left corner of the mouth"],
  ["mouth_right", "the right corner of the mouth"],
] as const;

type Place = [x: number, y: number];

/** As `schemas/avatars.py` has it: this is what is said by `consent=true`. */
const CONSENT =
  "The person shown has agreed to have this picture speak as an avatar, or the picture shows nobody; who hears and sees it will be told that it is synthetic.";

export default function Avatars({ me }: { me: Me }) {
  const asked = useQuery(avatars);
  const [adding, setAdding] = useState(false);
  return (
    <>
      <Head
        title="Avatars"
        actions={
          may(me, "avatars:write") && (
            <button type="button" className="button primary" onClick={() => setAdding(true)}>
              <Icon name="upload" size={16} /> Upload a portrait
            </button>
          )
        }
      >
        <Held me={me} />
      </Head>
      {adding && <Upload onDone={() => setAdding(false)} />}
      {asked.data ? (
        <ul className="grid">
          {asked.data.map((avatar) => (
            <AvatarCard key={avatar.id} avatar={avatar} me={me} />
          ))}
        </ul>
      ) : (
        <Loading of={asked} />
      )}
      {asked.data?.length === 0 && (
        <Empty icon="avatars" title="No avatar yet">
          <p>Upload a portrait: one face, looking forward, mouth shut.</p>
        </Empty>
      )}
    </>
  );
}

function Held({ me }: { me: Me }) {
  const { data } = useQuery({ ...quota, enabled: may(me, "account:read") });
  return (
    <p className="num">
      {data
        ? `${count(data.custom_avatars.used)} of ${count(data.custom_avatars.limit)} of your own`
        : "Faces for your sessions"}
    </p>
  );
}

function AvatarCard({ avatar, me }: { avatar: Avatar; me: Me }) {
  const stock = avatar.id === "av_demo" || avatar.id.startsWith("av_stock");
  return (
    <li className="card">
      <Face avatar={avatar} />
      <div className="body stack">
        <div className="row between">
          <h2>{avatar.name}</h2>
          <Badge status={avatar.status} />
        </div>
        <div className="row between small muted">
          <Copy
            text={avatar.id}
            shown={avatar.id.length > 18 ? `${avatar.id.slice(0, 8)}…${avatar.id.slice(-5)}` : avatar.id}
          />
          {stock ? <span className="tag">stock</span> : <Time at={avatar.created_at} />}
        </div>
        {avatar.failure_reason && <p className="small">{avatar.failure_reason}</p>}
        {!stock && may(me, "avatars:write") && <Remove avatar={avatar} />}
      </div>
    </li>
  );
}

function Remove({ avatar }: { avatar: Avatar }) {
  const [asking, setAsking] = useState(false);
  const remove = useMutation({
    mutationFn: () => taken(api.DELETE("/v1/avatars/{avatar_id}", { params: { path: { avatar_id: avatar.id } } })),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ["avatars"] });
      setAsking(false);
    },
  });
  return (
    <div>
      <button type="button" className="button ghost tiny" onClick={() => setAsking(true)}>
        <Icon name="trash" size={14} /> Delete
      </button>
      {asking && (
        <Sure
          title={`Delete ${avatar.name}?`}
          verb="Delete it"
          busy={remove.isPending}
          onYes={() => remove.mutate()}
          onNo={() => setAsking(false)}
        >
          Sessions that run keep the face; nothing new begins with it. Portrait and face are erased.
          {remove.error && <Problem failed={remove.error} />}
        </Sure>
      )}
    </div>
  );
}

function Upload({ onDone }: { onDone: () => void }) {
  const [picture, setPicture] = useState<File | null>(null);
  const [places, setPlaces] = useState<Place[]>([]);
  const [marking, setMarking] = useState(false);
  const upload = useMutation({
    mutationFn: (form: FormData) =>
      taken(api.POST("/v1/avatars", { body: form as never, bodySerializer: (body) => body as unknown as FormData })),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ["avatars"] });
      onDone();
    },
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (!picture) return;
    const form = new FormData();
    form.set("image", picture);
    const said = new FormData(event.currentTarget);
    form.set("name", String(said.get("name")) || "Custom Avatar");
    form.set("shape", String(said.get("shape")));
    const background = said.get("background") === "colour" ? said.get("colour") : said.get("background");
    if (background) form.set("background", background);
    form.set("consent", "true"); // the box is required, so it was ticked
    if (marking && places.length === PLACES.length) {
      form.set("positions", JSON.stringify(Object.fromEntries(PLACES.map(([name], n) => [name, places[n]]))));
    }
    upload.mutate(form);
  };
  const take = (file: File | undefined) => {
    if (!file) return;
    setPicture(file);
    setPlaces([]);
  };
  return (
    <Dialog title="Upload a portrait" onClose={onDone}>
      <form className="stack" onSubmit={submit}>
        {picture ? (
          <Picture
            file={picture}
            marking={marking}
            places={places}
            onPlace={(place) => setPlaces([...places, place])}
          />
        ) : (
          <Drop onFile={take} />
        )}
        {picture && (
          <>
            <div className="field">
              <label htmlFor="name">Name</label>
              <input id="name" name="name" className="input" maxLength={100} placeholder="Custom Avatar" />
            </div>
            <Looks />
            <div className="row between">
              <label className="row small">
                <input type="checkbox" checked={marking} onChange={(event) => setMarking(event.target.checked)} />
                Say where eyes and mouth are
              </label>
              <button type="button" className="button ghost tiny" onClick={() => setPicture(null)}>
                Another picture
              </button>
            </div>
            {marking && (
              <p className="small muted" role="status">
                {places.length < PLACES.length
                  ? `Click on ${PLACES[places.length]?.[1]}, as you see it.`
                  : "All four are marked."}{" "}
                {places.length > 0 && (
                  <button type="button" className="button ghost tiny" onClick={() => setPlaces([])}>
                    Begin again
                  </button>
                )}
              </p>
            )}
          </>
        )}
        {picture && (
          <label className="row small consent">
            <input type="checkbox" name="consent" required /> {CONSENT}
          </label>
        )}
        {upload.error && <Problem failed={upload.error} />}
        <footer>
          <button type="button" className="button" onClick={onDone}>
            Cancel
          </button>
          <button
            type="submit"
            className="button primary"
            disabled={!picture || upload.isPending || (marking && places.length < PLACES.length)}
          >
            {upload.isPending ? "Uploading…" : "Upload"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

function Looks() {
  const [background, setBackground] = useState("");
  return (
    <div className="pair">
      <div className="field">
        <label htmlFor="shape">Frame</label>
        <select id="shape" name="shape" className="input">
          <option value="square">Square</option>
          <option value="portrait">9:16, of a tall picture</option>
        </select>
      </div>
      <div className="field">
        <label htmlFor="background">Background</label>
        <div className="row">
          <select
            id="background"
            name="background"
            className="input"
            value={background}
            onChange={(event) => setBackground(event.target.value)}
          >
            <option value="">As in the picture</option>
            <option value="blur">Blurred</option>
            <option value="green">Green screen</option>
            <option value="colour">A colour</option>
          </select>
          {background === "colour" && <input type="color" name="colour" defaultValue="#20304a" aria-label="Colour" />}
        </div>
      </div>
    </div>
  );
}

function Drop({ onFile }: { onFile: (file: File | undefined) => void }) {
  const [over, setOver] = useState(false);
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    onFile(event.dataTransfer.files[0]);
  };
  return (
    <label
      className={`drop ${over ? "over" : ""}`}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      <Icon name="upload" size={26} />
      <strong>Choose a portrait, or drop it here</strong>
      <span className="small">PNG or JPEG, 10 MB at most. One face, looking forward, mouth shut.</span>
      <input
        className="hidden-visually"
        type="file"
        accept="image/png,image/jpeg"
        onChange={(event) => onFile(event.target.files?.[0])}
      />
    </label>
  );
}

/** Places are told in pixels of the picture, however large it is shown. */
function Picture({
  file,
  marking,
  places,
  onPlace,
}: {
  file: File;
  marking: boolean;
  places: Place[];
  onPlace: (place: Place) => void;
}) {
  const [source, setSource] = useState("");
  const [size, setSize] = useState<[number, number]>([1, 1]);
  useEffect(() => {
    const made = URL.createObjectURL(file);
    setSource(made);
    return () => URL.revokeObjectURL(made);
  }, [file]);
  const click = (event: MouseEvent<SVGSVGElement>) => {
    if (places.length >= PLACES.length) return;
    const matrix = event.currentTarget.getScreenCTM();
    if (!matrix) return;
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    onPlace([Math.round(x), Math.round(y)]);
  };
  return (
    <div className="pick">
      {source && (
        <img
          src={source}
          alt="The portrait to upload"
          onLoad={(event) => setSize([event.currentTarget.naturalWidth, event.currentTarget.naturalHeight])}
        />
      )}
      {marking && (
        // biome-ignore lint/a11y/useKeyWithClickEvents: a place in a picture is pointed at; without, the face is found by itself
        <svg viewBox={`0 0 ${size[0]} ${size[1]}`} onClick={click} role="img" aria-label="Places of eyes and mouth">
          {places.map(([x, y], n) => (
            <circle
              key={PLACES[n]?.[0]}
              cx={x}
              cy={y}
              r={Math.max(...size) / 90}
              fill="#22a06b"
              stroke="#fff"
              strokeWidth={Math.max(...size) / 300}
            />
          ))}
        </svg>
      )}
    </div>
  );
}
