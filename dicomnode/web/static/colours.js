// Colour maps of matplotlib (CC0) at 33 points: inferno for dose, viridis for activity, cividis for uncertainty.
const INFERNO =
  "0000040403120b0724150b37210c4a2f0a5b3d09654a0c6b57106e64156e71196e7d1e6d8a226a972766a32c61b0315bbc3754c73e4cd24644db503be45a31eb6628f1731df68013f98e09fb9d07fcac11fbbc21f9cb35f5db4cf2ea69f3f68afcffa4";
const VIRIDIS =
  "440154470d6048186a482374472d7b4537814240863e49893b528b375b8d33638d2f6b8e2c728e297a8e26828e23898e21918c1f988b1fa08822a78528ae8032b67a3fbc734ec36b5ec96270cf5784d44b98d83eaddc30c2df23d8e219ece51bfde725";
const CIVIDIS =
  "00224e00285b002e6a0533711a386f273e6e32436d3b496c434e6c4b546c535a6d5a5f6e61656f686a716f70737676767d7c788482798c8878938e789b9476a39a74aba072b4a76fbcae6cc4b468cdbb63d5c25edec958e7d150f0d846f9e03afee838";

/**
 * 256 colours from the points of a map.
 * @param {string} points six hexadecimal digits each
 */
function table(points) {
  const n = points.length / 6 - 1;
  const found = new Uint8Array(3 * 256);
  for (let i = 0; i < 256; i += 1) {
    const at = Math.min((i / 255) * n, n - 1e-9);
    const k = Math.floor(at);
    for (let c = 0; c < 3; c += 1) {
      const a = parseInt(points.slice(6 * k + 2 * c, 6 * k + 2 * c + 2), 16);
      const b = parseInt(points.slice(6 * k + 6 + 2 * c, 6 * k + 8 + 2 * c), 16);
      found[3 * i + c] = Math.round(a + (b - a) * (at - k));
    }
  }
  return found;
}

export const maps = { inferno: table(INFERNO), viridis: table(VIRIDIS), cividis: table(CIVIDIS) };

/**
 * CSS colour of a map at 0 to 1.
 * @param {Uint8Array} map
 * @param {number} at
 */
export function css(map, at) {
  const i = 3 * Math.round(255 * Math.min(Math.max(at, 0), 1));
  return `rgb(${map[i]} ${map[i + 1]} ${map[i + 2]})`;
}
