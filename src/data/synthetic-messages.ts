/**
 * Made-up text messages: a stand-in for the SMS Spam Collection where that is not to be had. Sentences with blanks,
 * filled at random from a seed. Nobody wrote them, and the telephone numbers are of ranges kept for fiction.
 *
 * Both kinds share most of their words: friends also win, call, text and owe each other £5. Some sentences are of both
 * kinds, for there is spam that poses as a friend: no classifier can be right about all of them.
 */
import { sottoError } from '../errors.ts'
import type { LabelledMessage } from './labelled-messages.ts'
import { SeededRandom } from './random.ts'

/** Of what both kinds say, how much of each: costs a perfect classifier about 1 % of its area under the curve. */
const eitherShare = { ham: 0.08, spam: 0.25 } as const

/** As in the real collection, about 13 of 100. */
const spamShare = 0.134

/** What may stand in a blank; a `#` is a digit from 1 to 9. */
const blanks: Readonly<Record<string, readonly string[]>> = {
  name: [
    'Ana',
    'Ben',
    'Chidi',
    'Dora',
    'Emre',
    'Farid',
    'Greta',
    'Hugo',
    'Ines',
    'Jun',
    'Kofi',
    'Lena',
    'Mina',
    'Noor',
  ],
  when: ['tonight', 'tomorrow', 'on friday', 'after work', 'at #', 'around #.30', 'this weekend', 'later', 'at lunch'],
  where: ['the station', 'the cinema', 'my place', 'the gym', 'town', 'the library', 'uni', 'the bus stop', 'the pub'],
  thing: ['your phone', 'the tickets', 'my charger', 'the keys', 'the cake', 'that book', 'the photos', 'your jacket'],
  doing: ['watching the match', 'cooking', 'in a meeting', 'on the bus', 'still in bed', 'revising', 'at the dentist'],
  feeling: ['so tired', 'really happy', 'a bit ill', 'starving', 'bored', 'fine', 'stressed', 'free'],
  small: ['£#', '£##', '#.99', '## quid', '$#'],
  large: ['£#00', '£#000', '£#,###', '$#000', '€###'],
  prize: ['a holiday for two', 'a new phone', 'gift vouchers', 'concert tickets', 'a cash prize', 'free minutes'],
  code: ['#####', '8####', '6####'],
  phone: ['07700900###', '08081570###', '01632 960###', '0808 157 0###'],
  site: ['www.example.com/win', 'http://example.net/claim', 'www.example.org'],
  word: ['WIN', 'YES', 'CLAIM', 'PLAY', 'CHAT', 'GO', 'STAR'],
  ham: ['lol', 'ok', 'haha', 'hmm', 'hey', 'hi', 'oh', 'sorry', 'yeah', 'thanks', 'no worries', 'omg'],
  end: ['x', 'xx', ':)', 'see you', 'love you', 'cheers', 'bye', 'ok?', 'let me know', '...', 'call me'],
}

const ham = {
  opening: ['', '', '{ham}', '{ham} {name}', '{name}', '{ham}...'],
  body: [
    'are you coming to {where} {when}?',
    'I am {feeling}, can we meet {when} instead?',
    'i am {doing}, call you back {when}',
    'did you bring {thing}?',
    'i left {thing} at {where}, can you get it {when}',
    'you won! {name} says you get the {small} you bet',
    'i still owe you {small}, sorry. will pay you {when}',
    'are you free {when}? {name} has free tickets for {where}',
    'text me when you get to {where}',
    'txt me your address pls, i have {thing} for you',
    'my mobile number is {phone} now',
    'please call {name} on {phone}',
    'the new phone costs {large}, no way',
    'our team won the match!! {name} got a prize',
    'happy birthday!! have a great day',
    'mum says reply to her, she is {feeling}',
    'the offer for the flat was {large}, we said yes',
    'do you want to stop at {where} on the way',
    'why did you not answer, i was {doing}',
    'just {doing}. u?',
    'will be late, the train stopped before {where}',
    'can you pick me up from {where} {when}',
    'how was the exam? i am sure you did great',
    'i need the code for the door at {where}, is it ####?',
    'your delivery is at {where}, {name} took it',
    'thinking of a holiday {when}, want to come?',
  ],
  closing: ['', '', '', '{end}', '{end}', '{name}'],
} as const

const spam = {
  opening: ['', '', 'URGENT!', 'Congratulations!', 'WINNER!!', 'Hi {name},', 'FREE msg:', 'Last chance!', 'hey'],
  body: [
    'You have won {prize}. To claim call {phone} now',
    'Your mobile number was picked for {large}! Text {word} to {code} now',
    'Get {prize} free today, just reply {word} to {code}',
    'we tried to call you about {prize}. Call {phone} from a landline',
    'your account has {small} waiting. visit {site} to claim your bonus',
    'Want to chat {when}? Text {word} to {code}. {small} per msg',
    'You owe {small} for a delivery. Pay at {site} {when}',
    'New offer: {prize} for only {small} a month. Call {phone}',
    'Your phone contract ends soon. Upgrade free at {site} or call {phone}',
    'someone you know likes you! find out who, call {phone}',
    'i am {feeling} and alone {when}, text {word} to {code} x',
    'it is {name}, my new phone costs {large}, please send me {small}',
    'are you free {when}? i have free tickets for you, look at {site}',
  ],
  closing: ['', '', 'T&Cs apply', 'Stop? txt STOP', '18+ only', 'Offer ends {when}!', 'Cost {small}/msg', 'x'],
} as const

/** What a friend says, and spam that poses as one; with the openings and closings of ham. */
const either = [
  'it is {name}, my number has changed, please text me on {phone}',
  'please call me back on {phone}, it is urgent',
  '{name} sent you photos, see them at {site}',
  'i am {feeling} and alone {when}, text me',
  'did you see this? {site}',
  'are you free {when}? i won tickets for {where}',
  'your delivery is late, you can follow it at {site}',
  'you still owe {small}, please pay {when}',
] as const

/**
 * Makes messages up.
 *
 * @param count at least 1; the first ones are the same whatever the count
 * @param seed from 0 to 2^53 − 1
 * @throws ValueError `ERR_ARGUMENT_VALUE` for a count or seed out of range
 */
export function madeUpMessages(count: number, seed: number): LabelledMessage[] {
  if (!Number.isSafeInteger(count) || count < 1) {
    throw sottoError('ERR_ARGUMENT_VALUE', `"count" expected an integer of at least 1, got ${count}`, { count })
  }
  const random = new SeededRandom(seed)
  return Array.from({ length: count }, () => {
    const label = random.float() < spamShare ? 'spam' : 'ham'
    const shared = random.float() < eitherShare[label]
    const { opening, body, closing } = shared ? { ...ham, body: either } : label === 'spam' ? spam : ham
    const parts = [opening, body, closing].map((choices) => fill(random, random.pick<string>(choices)))
    return { label, text: parts.filter((part) => part !== '').join(' ') }
  })
}

/** Fills the blanks of a sentence, then the digits in what filled them. */
function fill(random: SeededRandom, sentence: string): string {
  return sentence
    .replace(/\{(\w+)\}/g, (_, blank: string) => random.pick(blanks[blank]!))
    .replaceAll('#', () => String(1 + random.int(9)))
}
