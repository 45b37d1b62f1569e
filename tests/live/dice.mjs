// Choices that another run can repeat, of a seed (mulberry32). The timing is never the same.

export class Dice {
  #state;

  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** A number from 0 to 1. */
  roll() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A number from `least` to `most`. */
  between(least, most) {
    return least + this.roll() * (most - least);
  }

  pick(list) {
    return list[Math.floor(this.roll() * list.length)];
  }

  /** One of the keys, each as often as its weight says. */
  of(weights) {
    const entries = Object.entries(weights);
    let left = this.roll() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    return (entries.find(([, weight]) => (left -= weight) < 0) ?? entries[0])[0];
  }
}
