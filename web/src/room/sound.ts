/** Sound as an avatar takes it: PCM16, mono. */

export const RATE = 24_000;

export type Pcm = { data: Uint8Array<ArrayBuffer>; seconds: number };

/** Whatever the browser can decode. Throws for what is no sound. */
export async function decoded(file: ArrayBuffer): Promise<Pcm> {
  const context = new OfflineAudioContext(1, 1, RATE);
  const sound = await context.decodeAudioData(file);
  const mono = new Float32Array(sound.length);
  for (let channel = 0; channel < sound.numberOfChannels; channel++) {
    const data = sound.getChannelData(channel);
    for (let n = 0; n < mono.length; n++) mono[n] = (mono[n] ?? 0) + (data[n] ?? 0) / sound.numberOfChannels;
  }
  return { data: pcm16(mono), seconds: sound.duration };
}

export function pcm16(samples: Float32Array): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(samples.length * 2));
  samples.forEach((sample, n) => {
    view.setInt16(n * 2, Math.round(Math.max(-1, Math.min(1, sample)) * 32767), true);
  });
  return new Uint8Array(view.buffer);
}
