import { useState } from "react";
import type { Avatar } from "../data/api";
import { Icon } from "./icon";

/** Its portrait, where there is one. */
export function Face({ avatar }: { avatar: Avatar }) {
  const [missing, setMissing] = useState(false);
  // A face that is built later is another picture: the address says so.
  const source = `/console/avatars/${encodeURIComponent(avatar.id)}/portrait?${avatar.status}`;
  return (
    <div className="face">
      {missing ? (
        <Icon name="avatars" size={44} />
      ) : (
        <img src={source} alt={`Portrait of ${avatar.name}`} loading="lazy" onError={() => setMissing(true)} />
      )}
    </div>
  );
}
