// A runtime that is killed again and again, at random moments and at every fail point, while pushes, acknowledgements, commands,
// room pushes and reconnects go on. After each restart, what was promised is held against the lists, the record and the clients.
import { setImmediate as nextTurn, setTimeout as delay } from "node:timers/promises";
import { until } from "../../tests/live/client.mjs";
import { Dice } from "../../tests/live/dice.mjs";
import { onServerInMemory } from "../../tests/live/in_memory.mjs";
import { POINTS } from "./points.mjs";
import { Round } from "./round.mjs";

/** Ticks every two seconds: what an evicted switchboard has forgotten it hears again. */
const VARS = { PING_INTERVAL_MS: "2000", PING_TIMEOUT_MS: "60000", SWITCHBOARDS: "2" };
/** Actions under way at the same time. */
const WIDTH = 6;
const MOST_TO_A_KILL_MS = 300;
/** A point that nobody has come to by then is left for another time. */
const MOST_TO_A_POINT_MS = 2_000;
const KILLS_A_ROUND = 30;
const KILLS_A_FULL_CHECK = 10;
const TOUCHED = 3;
/** Of so many kills one is at a fail point, and one after a point has failed; the others are at random moments. */
const AT_A_POINT = 0.45;
const AFTER_A_FAILURE = 0.2;
/** More wrong than this says nothing new. */
const ENOUGH = 20;

/**
 * Runs chaos on a server of its own until `kills` are done, or `ms` are over. Gives what was wrong, as `{ kind, text }`, and
 * figures. `fault` is planted after every restart; then chaos ends as soon as anything is wrong.
 */
export function chaosOnServer(options) {
  return onServerInMemory({ vars: VARS }, (server) => new Chaos(server, options).run());
}

class Chaos {
  #server;
  #options;
  #dice;
  #wrong = [];
  #points = Object.fromEntries(Object.keys(POINTS).map((name) => [name, { killed: 0, failed: 0 }]));
  #figures = {
    kills: 0, at_random: 0, at_points: 0, after_failures: 0, actions: 0, failed_actions: 0, requests: 0, answered: 0, unanswered: 0,
    refused: 0, retried: 0, commands_answered: 0, commands_unanswered: 0, full_checks: 0, checked_pushes: 0, checked_items: 0,
    checked_deliveries: 0, checked_changes: 0,
  };
  #acting = false;
  /** The points in turn, each time in another order, so that all are met. */
  #deck = [];

  constructor(server, { kills, seed, users = 10, ms = Infinity, fault, note = () => {} }) {
    this.#server = server;
    this.#options = { kills, users, fault, note, end: performance.now() + ms };
    this.#dice = new Dice(seed);
  }

  async run() {
    await this.#prepare();
    for (let i = 0; this.#goesOn(); i++) await this.#round(`chaos${i}`);
    return { wrong: this.#wrong, figures: this.#figures, points: this.#points };
  }

  #goesOn() {
    const { kills, fault, end } = this.#options;
    const enough = fault === undefined ? ENOUGH : 1;
    return this.#figures.kills < kills && performance.now() < end && this.#wrong.length < enough;
  }

  async #round(name) {
    const { users, fault, note } = this.#options;
    const round = new Round(this.#server, { name, users, dice: this.#dice, wrong: this.#wrong, figures: this.#figures, note });
    await round.begin();
    for (let i = 1; i <= KILLS_A_ROUND && this.#goesOn(); i++) {
      await this.#cycle(round);
      await round.repeat();
      if (i % KILLS_A_FULL_CHECK === 0 || fault !== undefined) await round.checkAll();
      else await round.checkTouched(TOUCHED);
    }
    if (this.#wrong.length === 0) await round.checkAll();
    round.end();
    const { kills, answered, checked_items } = this.#figures;
    note(`${kills} kills, ${answered} pushes answered, ${checked_items} items checked, ${this.#wrong.length} wrong`);
  }

  #prepare() {
    const { fault } = this.#options;
    return fault === undefined ? undefined : this.#server.plantFault(fault);
  }

  /** Has everything go on for a while, and kills the runtime. */
  async #cycle(round) {
    const point = this.#draw();
    const roll = this.#dice.roll();
    const action = roll < AT_A_POINT ? "stall" : "error";
    const armed = roll < AT_A_POINT || (roll < AT_A_POINT + AFTER_A_FAILURE && !POINTS[point].stallsOnly);
    if (armed) await this.#arm(point, action);
    this.#acting = true;
    const actors = Array.from({ length: WIDTH }, () => this.#act(round));
    if (armed && POINTS[point].by) actors.push(this.#act(round, POINTS[point].by));
    const met = armed && (await this.#reached(point));
    await delay(this.#dice.between(0, met && action === "stall" ? 20 : MOST_TO_A_KILL_MS));
    this.#acting = false;
    await this.#server.crash();
    await this.#prepare();
    await Promise.all(actors);
    if (armed && POINTS[point].stallsOnly) round.missed();
    this.#note(point, met ? action : undefined);
  }

  async #act(round, name) {
    while (this.#acting) {
      await round.act(name);
      // Some actions find nothing to do and wait for nothing.
      await nextTurn();
    }
  }

  #draw() {
    if (this.#deck.length === 0) this.#deck = Object.keys(POINTS);
    return this.#deck.splice(Math.floor(this.#dice.roll() * this.#deck.length), 1)[0];
  }

  async #arm(point, action) {
    for (const other of POINTS[point].after ?? []) await this.#server.failPoint(other, { times: 3 });
    await this.#server.failPoint(point, { action, times: action === "stall" ? 1 : 1 + Math.floor(this.#dice.roll() * 3) });
  }

  /** Whether an event has come to the point before it was too late. */
  async #reached(point) {
    const hit = async () => (await this.#server.failPoints())[point].hits > 0;
    return until(hit, { timeout: MOST_TO_A_POINT_MS }).catch(() => false);
  }

  #note(point, action) {
    this.#figures.kills += 1;
    if (action === "stall") {
      this.#figures.at_points += 1;
      this.#points[point].killed += 1;
    } else if (action === "error") {
      this.#figures.after_failures += 1;
      this.#points[point].failed += 1;
    } else this.#figures.at_random += 1;
  }
}
