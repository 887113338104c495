// A tenth of a second at a time, from the thread of the sound to that of the page.
class Microphone extends AudioWorkletProcessor {
  kept = [];
  size = 0;

  process([input]) {
    const samples = input?.[0];
    if (samples) {
      this.kept.push(samples.slice());
      this.size += samples.length;
      if (this.size >= sampleRate / 10) {
        const whole = new Float32Array(this.size);
        let at = 0;
        for (const part of this.kept) {
          whole.set(part, at);
          at += part.length;
        }
        this.port.postMessage(whole, [whole.buffer]);
        this.kept = [];
        this.size = 0;
      }
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
