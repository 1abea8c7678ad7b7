/**
 * Photographs as they were taken. A camera that was held upright stores the picture lying on its side and says so in a
 * tag (Exif orientation, 1 to 8); the service reads pixels alone, as timm does, so the page turns the picture itself.
 */

const HEAD = 1 << 17; // bytes; the tag comes before the pixels

/** The file, or an upright copy where a tag says that it must be turned. */
export async function upright(file: File): Promise<File> {
  const head = new DataView(await file.slice(0, HEAD).arrayBuffer());
  if (orientationOf(head) === 1) return file;
  try {
    const picture = await createImageBitmap(file); // which follows the tag
    const canvas = Object.assign(document.createElement("canvas"), { width: picture.width, height: picture.height });
    canvas.getContext("2d")?.drawImage(picture, 0, 0);
    const turned = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/jpeg", 0.95));
    return turned ? new File([turned], file.name, { type: "image/jpeg" }) : file;
  } catch {
    return file; // it is no picture to this browser; what is wrong with it is the service's to say
  }
}

/** What the tag of a JPEG file says; 1, which is upright, where there is none. */
export function orientationOf(bytes: DataView): number {
  try {
    return bytes.getUint16(0) === 0xffd8 ? inSegments(bytes) : 1;
  } catch (error) {
    if (error instanceof RangeError) return 1; // cut short
    throw error;
  }
}

function inSegments(bytes: DataView): number {
  for (let at = 2; bytes.getUint8(at) === 0xff && bytes.getUint8(at + 1) !== 0xda; at += 2 + bytes.getUint16(at + 2)) {
    const exif = bytes.getUint8(at + 1) === 0xe1 && bytes.getUint32(at + 4) === 0x45786966;
    if (exif) return inTags(bytes, at + 10);
  }
  return 1;
}

/** In the first directory of the TIFF structure that starts here. */
function inTags(bytes: DataView, start: number): number {
  const little = bytes.getUint16(start) === 0x4949;
  const directory = start + bytes.getUint32(start + 4, little);
  const count = bytes.getUint16(directory, little);
  for (let i = 0; i < count; i++) {
    const tag = directory + 2 + 12 * i;
    if (bytes.getUint16(tag, little) !== 0x0112) continue;
    const orientation = bytes.getUint16(tag + 8, little);
    return orientation >= 1 && orientation <= 8 ? orientation : 1;
  }
  return 1;
}
