/** Slices through a case as pixels: planes, grey values, labels, differences, and outlines. */
(() => {
  "use strict";
  const page = window.umambaPage;
  const NAMES = ["axial", "coronal", "sagittal"];
  const REFERENCE = [0x56, 0xb4, 0xe9];
  // Colours of Okabe and Ito, without the blues, which the reference has.
  const LABELS = [[0xe6, 0x9f, 0x00], [0xcc, 0x79, 0xa7], [0x00, 0x9e, 0x73], [0xf0, 0xe4, 0x42], [0xd5, 0x5e, 0x00]];
  const N_COLOURS = 256;
  const GOLDEN = 0.618034; // of a turn: neighbouring labels get hues far apart

  const hue = (turn, light) =>
    [0, 8, 4].map((k) => {
      const at = (k + turn * 12) % 12;
      return Math.round(255 * (light - 0.4 * Math.max(-1, Math.min(at - 3, 9 - at, 1))));
    });
  const palette = Array.from({ length: N_COLOURS }, (_, i) => LABELS[i] ?? hue((i * GOLDEN) % 1, 0.5 + 0.1 * (i % 3)));
  const colourOf = (value) => palette[(((value - 1) % N_COLOURS) + N_COLOURS) % N_COLOURS];

  /** What differs from the reference; each has a colour that colour-blind readers tell apart. */
  const DIFFERENCES = [
    null,
    { name: "false positive", colour: [0xd5, 0x5e, 0x00] },
    { name: "false negative", colour: [0x00, 0x72, 0xb2] },
    { name: "agreement", colour: [0xbb, 0xbb, 0xbb] },
    { name: "another label", colour: [0xf0, 0xe4, 0x42] },
  ];

  /** Return a plane across an axis: its size, direction and names; the head is up. */
  const planeOf = (volume, axis) => {
    const [rows, columns] = [[1, 2], [0, 2], [0, 1]][axis];
    const { shape, spacing, letters } = volume;
    const oriented = letters.length === 3;
    const flipped = oriented && rows === 0;
    const ends = oriented ? { left: letters[columns][0], right: letters[columns][1], top: letters[rows][flipped ? 1 : 0], bottom: letters[rows][flipped ? 0 : 1] } : null;
    return {
      axis, rows, columns, flipped, ends,
      height: shape[rows], width: shape[columns], depth: shape[axis],
      rowSize: spacing[rows], columnSize: spacing[columns],
      name: oriented ? NAMES[axis] : shape[0] === 1 && axis === 0 ? "image" : `across axis ${axis + 1}`,
    };
  };

  /** Return the index of the voxel in a row and column of a slice. */
  const voxelIndex = (volume, plane, slice, row, column) => {
    const strides = [volume.shape[1] * volume.shape[2], volume.shape[2], 1];
    const along = plane.flipped ? plane.height - 1 - row : row;
    return slice * strides[plane.axis] + along * strides[plane.rows] + column * strides[plane.columns];
  };

  /** Copy a slice of an array; `n` numbers belong to each voxel. */
  const cut = (volume, plane, slice, values, n = 1) => {
    const { height, width } = plane;
    const start = voxelIndex(volume, plane, slice, 0, 0) * n;
    if (plane.axis === 0) return values.slice(start, start + height * width * n);
    const out = new values.constructor(height * width * n);
    const step = voxelIndex(volume, plane, 0, 0, 1) - voxelIndex(volume, plane, 0, 0, 0);
    let to = 0;
    for (let row = 0; row < height; row += 1) {
      let from = voxelIndex(volume, plane, slice, row, 0) * n;
      for (let column = 0; column < width; column += 1, from += step * n) {
        for (let k = 0; k < n; k += 1) out[to++] = values[from + k];
      }
    }
    return out;
  };

  const isLittle = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;
  /** Return a pixel with these colours as one number. */
  const packed = (r, g, b) => (isLittle ? ((255 << 24) | (b << 16) | (g << 8) | r) : ((r << 24) | (g << 16) | (b << 8) | 255)) >>> 0;

  /** Return the grey pixel of every stored number under a window from `low` to `high`. */
  const greyPixels = (channel, low, high) => {
    const pixels = new Uint32Array(channel.values.BYTES_PER_ELEMENT === 1 ? 256 : 65536);
    const level = new Uint8ClampedArray(1); // rounds and clamps
    const width = Math.max(high - low, 1e-12);
    for (let raw = 0; raw < pixels.length; raw += 1) {
      level[0] = (255 * (raw * channel.slope + channel.intercept - low)) / width;
      pixels[raw] = packed(level[0], level[0], level[0]);
    }
    return pixels;
  };

  /** Paint a slice of a channel into pixels, each one number; without a channel, they are black. */
  const paintImage = (pixels, slice, channel, grey) => {
    if (!channel) pixels.fill(packed(0, 0, 0));
    else if (channel.colours) for (let i = 0; i < pixels.length; i += 1) pixels[i] = packed(slice[3 * i], slice[3 * i + 1], slice[3 * i + 2]);
    else for (let i = 0; i < pixels.length; i += 1) pixels[i] = grey[slice[i]];
  };

  /** Return a function that keeps its last result: neighbours mostly have the same value. */
  const remembering = (fn) => {
    let last = NaN;
    let found;
    return (value) => {
      if (value !== last) [last, found] = [value, fn(value)];
      return found;
    };
  };

  /** Set all but the values of a label to 0; without a label, all but the value to ignore. */
  const only = (slice, values, ignore) => {
    if (!values && ignore === null) return slice;
    const left = remembering((value) => (values ? !values.includes(value) : value === ignore));
    for (let i = 0; i < slice.length; i += 1) if (slice[i] !== 0 && left(slice[i])) slice[i] = 0;
    return slice;
  };

  /**
   * Return for each pixel an index into `DIFFERENCES`.
   *
   * Pixels that the reference leaves out are 0. With a label only whether a pixel belongs to it
   * counts; without, different labels differ.
   */
  const difference = (predicted, reference, values, ignore) => {
    const member = (value) => (values ? Number(values.includes(value)) : value);
    const [isPredicted, isReference] = [remembering(member), remembering(member)];
    const out = new Uint8Array(predicted.length);
    for (let i = 0; i < out.length; i += 1) {
      if (ignore !== null && reference[i] === ignore) continue;
      if (predicted[i] === 0 && reference[i] === 0) continue;
      const p = isPredicted(predicted[i]);
      const r = isReference(reference[i]);
      if (p && !r) out[i] = 1;
      else if (!p && r) out[i] = 2;
      else if (p) out[i] = p === r ? 3 : 4;
    }
    return out;
  };

  /** Blend colours of classes over pixels. */
  const paintFill = (pixels, classes, colour, opacity) => {
    const its = remembering(colour);
    for (let i = 0; i < classes.length; i += 1) {
      if (classes[i] === 0) continue;
      const [r, g, b] = its(classes[i]);
      const at = 4 * i;
      pixels[at] += (r - pixels[at]) * opacity;
      pixels[at + 1] += (g - pixels[at + 1]) * opacity;
      pixels[at + 2] += (b - pixels[at + 2]) * opacity;
    }
  };

  /** Draw the outline of each class along the edges of its pixels. */
  const strokeOutlines = (context, classes, plane, view, colour, width) => {
    const { height, width: columns } = plane;
    const paths = new Map();
    const pathOf = remembering((value) => {
      if (!paths.has(value)) paths.set(value, new Path2D());
      return paths.get(value);
    });
    const line = (value, ax, ay, bx, by) => {
      if (value === 0) return;
      const path = pathOf(value);
      path.moveTo(ax, ay);
      path.lineTo(bx, by);
    };
    const X = (column) => view.x + column * view.sx;
    const Y = (row) => view.y + row * view.sy;
    const across = (row, column, value) => line(value, X(column), Y(row), X(column + 1), Y(row));
    const down = (row, column, value) => line(value, X(column), Y(row), X(column), Y(row + 1));
    for (let row = 0, i = 0; row < height; row += 1) {
      down(row, 0, classes[i]);
      for (let column = 0; column < columns; column += 1, i += 1) {
        const value = classes[i];
        const right = column + 1 < columns ? classes[i + 1] : 0;
        const below = row + 1 < height ? classes[i + columns] : 0;
        if (row === 0) across(0, column, value);
        if (value !== right) {
          down(row, column + 1, value);
          down(row, column + 1, right);
        }
        if (value !== below) {
          across(row + 1, column, value);
          across(row + 1, column, below);
        }
      }
    }
    context.lineWidth = width;
    context.lineCap = "square";
    for (const [value, path] of paths) {
      context.strokeStyle = `rgb(${colour(value).join(" ")})`;
      context.stroke(path);
    }
  };

  /** Return for each axis the slice in which most voxels count. */
  const fullest = (volume, counts) => {
    const [nz, ny, nx] = volume.shape;
    const sums = [new Uint32Array(nz), new Uint32Array(ny), new Uint32Array(nx)];
    for (let z = 0, i = 0; z < nz; z += 1) {
      for (let y = 0; y < ny; y += 1) {
        for (let x = 0; x < nx; x += 1, i += 1) {
          if (!counts(i)) continue;
          sums[0][z] += 1;
          sums[1][y] += 1;
          sums[2][x] += 1;
        }
      }
    }
    const best = sums.map((sum) => sum.reduce((at, n, i) => (n > sum[at] ? i : at), 0));
    return sums[0][best[0]] ? best : null;
  };

  page.slices = { DIFFERENCES, REFERENCE, colourOf, cut, difference, fullest, greyPixels, only, paintFill, paintImage, planeOf, strokeOutlines, voxelIndex };
})();
