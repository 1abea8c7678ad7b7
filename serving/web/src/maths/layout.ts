/** Where prototypes and images are drawn: their directions within the view. */

import { length, type Point, unit } from "./rotation";
import { principalView, project, type View } from "./principal";
import type { Vector } from "./vectors";

export interface Spot {
  at: Point;
  /** How much of the vector lies within the view, from 0 to 1. */
  held: number;
}

const NOWHERE = 1e-6;

/** A set's view, of its prototypes alone. */
export function viewOf(rows: readonly Vector[]): View {
  return principalView(rows, []);
}

/** The view with directions of the images, where the prototypes leave some free. */
export function filledView(view: View, rows: readonly Vector[], images: readonly Vector[]): View {
  return view.spanned < 3 && images.length > 0 ? principalView(rows, images) : view;
}

/** On the sphere's surface; null for a vector that lies wholly outside of the view. */
export function spot(vector: Vector, view: View): Spot | null {
  const inside = project(vector, view.axes);
  const held = length(inside);
  return held < NOWHERE ? null : { at: unit(inside), held: Math.min(1, held) };
}

/** What the reader should know about a view, in a sentence or two. */
export function described(view: View, count: number): string {
  const share = `${(100 * view.share).toFixed(view.share > 0.995 || view.share < 0.1 ? 1 : 0)} %`;
  if (count === 1) return "One prototype. The other two directions are the images'.";
  if (view.spanned < 3) {
    const shape = view.spanned === 1 ? "a line" : "a plane";
    return `${count} prototypes in ${shape} through the centre, shown whole. What is left is the images'.`;
  }
  const whole = view.share > 0.9995;
  const fainter = whole ? "Angles are seen as they are." : "The fainter a point, the more of it lies outside of this view.";
  return `Shows ${whole ? "all" : share} of the prototypes' variance about the centre. ${fainter}`;
}
